"""A lock on a file, for one run at a time.

The kernel holds the lock for as long as a process of the run lives.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO


class WaitCancelled(Exception):
    """The run was cancelled while it waited for a lock."""


@contextmanager
def hold(
    path: Path, holder: str, on_wait: Callable[[str], None], on_take: Callable[[str], None] = lambda last: None
) -> Iterator[int]:
    """Waits for the lock and yields its descriptor; see `hold_one`."""
    with hold_one([path], holder, on_wait, on_take) as descriptor:
        yield descriptor


@contextmanager
def hold_one(
    paths: Sequence[Path],
    holder: str,
    on_wait: Callable[[str], None],
    on_take: Callable[[str], None] = lambda last: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    poll: float = 0.5,
) -> Iterator[int]:
    """Waits until one of the locks is free, and takes it.

    Processes that get the descriptor hold the lock too. holder: what others read while they wait; on_wait: called
    once, with the texts of the present holders, when all locks are taken; on_take: called with the text of the last
    holder as soon as a lock is ours; is_cancelled: asked before each try, True raises WaitCancelled; poll: seconds
    between two tries.
    """
    with ExitStack() as stack:
        files: list[TextIO] = []
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.append(stack.enter_context(path.open("a+")))
        has_waited = False
        while not (free := next((file for file in files if try_lock(file)), None)):
            if is_cancelled():
                raise WaitCancelled
            if not has_waited:
                on_wait(" and ".join(read(file) for file in files))
                has_waited = True
            time.sleep(poll)
        on_take(read(free))
        free.truncate(0)
        free.write(holder)
        free.flush()
        yield free.fileno()


def read(file: TextIO) -> str:
    """The text of the lock's holder, or of its last one."""
    file.seek(0)
    return file.read()


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock."""
    with path.open("a+") as file:
        return try_lock(file)


def try_lock(file: TextIO) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
