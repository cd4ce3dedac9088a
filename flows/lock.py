"""One run at a time: a lock on a file, held by the kernel for as long as a process of the run lives."""

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
    """Waits for the lock, telling once who holds it, and yields its descriptor for processes that shall hold it too.

    `on_take` is told, once the lock is held, who held it last.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        told = False
        while not locked(file.fileno()):
            if not told:
                file.seek(0)
                on_wait(file.read())
                told = True
            time.sleep(poll)
        file.seek(0)
        on_take(file.read())
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield file.fileno()


def locked(descriptor: int) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
