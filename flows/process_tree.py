"""Runs commands of which nothing outlives the flow, however the flow ends.

The flow (`Guards`) never starts a command itself. It starts this file as a program, in a session of its own, and holds the only
write end of its standard input. The program starts the command and waits: when the command is done, or when the input closes
because the flow cancelled or was killed, it ends every process that descends from it. On Linux it is also the subreaper, so a
descendant cannot leave the tree by a new session or by losing its parent.

A command's descendants are asked with TERM and killed after `GRACE` seconds. The command itself is not asked: DVC then sees its
stage fail, records nothing and gives its locks back.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

GRACE = 5.0
PR_SET_CHILD_SUBREAPER = 36
ENDED = 128 + signal.SIGTERM


class Guards:
    """The commands of one flow run: at most `parallel` at a time; leaving the context ends those that still run.

    `locks` are the descriptors of the locks that the flow holds on checkouts. The guards inherit them, so a flow that was killed
    keeps its checkout locked until the last of its processes is gone.
    """

    def __init__(self, locks: Sequence[int], parallel: int = 4) -> None:
        self.locks = locks
        self.slots = threading.BoundedSemaphore(parallel)
        self.guards: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped = True
        for guard in tuple(self.guards):
            end(guard)

    def run(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], on_line: Callable[[str], None]) -> int:
        """Runs a command to its end, each line of its output passed on as it comes; returns the exit status."""
        with self.slots:
            if self.stopped:
                return ENDED
            guard = subprocess.Popen(
                [sys.executable, "-P", __file__, *command],
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=self.locks,
            )
            self.guards.add(guard)
            if self.stopped:
                end(guard)
            try:
                for line in guard.stdout or ():
                    on_line(line.rstrip())
            finally:
                self.guards.discard(guard)
                end(guard)
            return guard.wait()


def end(guard: subprocess.Popen[str]) -> None:
    """Tells a guard to end its command; kills what a guard that was itself killed has left."""
    if guard.stdin:
        guard.stdin.close()
    if (guard.poll() or 0) < 0:
        with suppress(ProcessLookupError):
            os.killpg(guard.pid, signal.SIGKILL)


def main(command: Sequence[str]) -> int:
    """The guard: runs the command, returns its exit status, or `ENDED` if the flow went away first."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    flow_is_gone = threading.Event()

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # nobody writes: this returns when the other end is closed
        flow_is_gone.set()
        end_descendants(spare=child.pid)

    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    end_descendants(spare=child.pid)
    return ENDED if flow_is_gone.is_set() else status


def end_descendants(spare: int) -> None:
    """Asks every descendant but `spare` to end and kills, after `GRACE` seconds, all that are left."""
    deadline = time.monotonic() + GRACE
    asked: set[int] = set()
    while alive := descendants():
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                if time.monotonic() > deadline:
                    process.kill()
                elif process.pid != spare and process.pid not in asked:
                    process.terminate()
                    asked.add(process.pid)
        time.sleep(0.05)


def descendants() -> list[psutil.Process]:
    """All living descendants of this process."""
    alive: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
