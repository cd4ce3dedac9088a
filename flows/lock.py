"""A lock on a file, for one run at a time.

The kernel holds the lock for as long as a process of the run lives.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold(
    path: Path,
    holder: str,
    on_wait: Callable[[str], None],
    on_take: Callable[[str], None] = lambda last: None,
    poll: float = 0.5,
) -> Iterator[int]:
    """Waits for the lock and yields its descriptor.

    Processes that get the descriptor hold the lock too. holder: what others read while they wait; on_wait: called once,
    with the text of the present holder, when the lock is taken; on_take: called with the text of the last holder as
    soon as the lock is ours; poll: seconds between two tries.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        has_waited = False
        while not try_lock(file.fileno()):
            if not has_waited:
                file.seek(0)
                on_wait(file.read())
                has_waited = True
            time.sleep(poll)
        file.seek(0)
        on_take(file.read())
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield file.fileno()


def try_lock(descriptor: int) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
