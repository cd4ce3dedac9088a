"""A stage ends with its DVC, and a process with its launcher."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psutil import Process

OF_DVC = "DVC_STAGE"  # DVC sets it for the command of a stage, and all that descends from it has it
FIRST = "VIDEO_R1_STAGE_PID"  # the stage's first Python process, which speaks for those that it starts
SECONDS = 1.0  # between two looks
_PR_SET_PDEATHSIG = 1


def end_with_dvc() -> None:
    """End this process within seconds of the end of DVC.

    A signal that ends DVC alone does not reach its stage. Without a watch the stage would go on for nobody, and keep
    the next run out. Workers of a pool need no watch: they end with the process that started them, and their memory is
    bounded.
    """
    if OF_DVC not in os.environ or multiprocessing.parent_process() is not None:
        return
    import psutil

    os.environ.setdefault(FIRST, str(os.getpid()))
    with suppress(psutil.Error):
        command = _command_of_dvc()
        threading.Thread(target=_watch, args=(command, command.ppid()), daemon=True).start()


def end_with_parent() -> None:
    """Have the kernel end this process with the one that started it.

    torchrun puts each process into a session of its own: a killed launcher would leave them training.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _command_of_dvc() -> "Process":
    """The process that DVC started: this one, or one above it.

    One above it is a shell or a launcher.
    """
    import psutil

    process = psutil.Process()
    with suppress(psutil.Error):  # another user's process, so not one of this stage
        while (parent := process.parent()) is not None and parent.environ().get(OF_DVC) == os.environ[OF_DVC]:
            process = parent
    return process


def _watch(command: "Process", dvc: int) -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        while command.ppid() == dvc:
            time.sleep(SECONDS)
    if os.environ[FIRST] == str(os.getpid()):
        with suppress(OSError):  # nobody may read it any more
            sys.stderr.write("DVC has ended, so its stage ends too; run the same command again to go on\n")
            sys.stderr.flush()
    else:
        time.sleep(2 * SECONDS)  # the first process speaks, and does not end silently because this one has
    os.kill(os.getpid(), signal.SIGTERM)
