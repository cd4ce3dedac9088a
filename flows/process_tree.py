"""Runs commands whose processes all end with the flow.

The flow never starts a command itself. Its `CommandRunner` starts this file as a program, the supervisor, in a session
of its own, and holds the only write end of the supervisor's standard input. The supervisor starts the command and
waits. When the command is done, or when the input closes because the flow was cancelled or killed, the supervisor ends
every process that descends from it. On Linux it is also the subreaper, so a descendant cannot leave the tree by a new
session or by the death of its parent.

The descendants of a command are asked to end with TERM and are killed after `GRACE` seconds. The command itself is not
asked: DVC then sees its stage fail, records nothing and gives its locks back.
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


class CommandRunner:
    """Runs commands for one flow run, at most `parallel` at a time.

    Leaving the context ends the commands that still run. `locks` are the descriptors of the locks that the flow holds
    on checkouts. The supervisors inherit them, so the checkout of a killed flow stays locked until the last of its
    processes is gone.
    """

    def __init__(self, locks: Sequence[int], parallel: int = 4) -> None:
        self.locks = locks
        self.slots = threading.BoundedSemaphore(parallel)
        self.supervisors: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped = True
        for supervisor in tuple(self.supervisors):
            stop(supervisor)

    def run(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        locks: Sequence[int] = (),
    ) -> int:
        """Runs a command to its end and returns its exit status.

        Each line of its output is passed on as it comes. `locks` are those of this command alone. The status is
        `ENDED` when the flow has ended the command.
        """
        with self.slots:
            if self.stopped:
                return ENDED
            supervisor = subprocess.Popen(
                [sys.executable, "-P", __file__, *command],
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=[*self.locks, *locks],
            )
            self.supervisors.add(supervisor)
            if self.stopped:
                stop(supervisor)
            try:
                for line in supervisor.stdout or ():
                    on_line(line.rstrip())
            finally:
                self.supervisors.discard(supervisor)
                stop(supervisor)
            return supervisor.wait()


def start_supervised(
    command: Sequence[str], env: Mapping[str, str], grace: float, stdout: int | None = None
) -> "subprocess.Popen[bytes]":
    """Starts a server that ends with this process, and returns its supervisor.

    The terminal's Ctrl-C does not reach it. A server is asked to end itself. Its descendants follow after `grace`
    seconds at most. stdout: as for Popen, and errors go there too.
    """
    errors = None if stdout is None else subprocess.STDOUT
    supervised = [sys.executable, "-P", __file__, "--ask-first", str(grace), *command]
    return subprocess.Popen(
        supervised, env=env, stdin=subprocess.PIPE, stdout=stdout, stderr=errors, start_new_session=True
    )


def end_supervised(supervisor: "subprocess.Popen[bytes]") -> None:
    """Ends a server and waits for the last of its processes."""
    if supervisor.stdin:
        supervisor.stdin.close()
    supervisor.wait()


def stop(supervisor: subprocess.Popen[str]) -> None:
    """Tells a supervisor to end its command.

    When the supervisor itself was killed, the rest of its process group is killed here.
    """
    if supervisor.stdin:
        supervisor.stdin.close()
    if (supervisor.poll() or 0) < 0:
        with suppress(ProcessLookupError):
            os.killpg(supervisor.pid, signal.SIGKILL)


def main(command: Sequence[str]) -> int:
    """Runs the command as its supervisor and returns its exit status.

    The status is `ENDED` when the flow went away before the command was done.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    grace = 0.0
    if command[0] == "--ask-first":
        grace, command = float(command[1]), command[2:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    flow_is_gone = threading.Event()

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # nobody writes: this returns when the other end is closed
        flow_is_gone.set()
        if grace:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(grace)
        end_descendants(spare=child.pid)

    threading.Thread(target=watch, daemon=True).start()
    status = child.wait()
    end_descendants(spare=child.pid)
    if flow_is_gone.is_set():
        return ENDED
    return status if status >= 0 else 128 - status  # as a shell reports a signal


def end_descendants(spare: int) -> None:
    """Ends every descendant but `spare`, by force after `GRACE` seconds."""
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
