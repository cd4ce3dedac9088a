"""A stage ends with the DVC that started it."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress

import psutil

OF_DVC = "DVC_STAGE"  # DVC sets it for the command of a stage, and all that descends from it has it
SECONDS = 1.0  # between two looks


def end_with_dvc() -> None:
    """End this process within seconds of the end of DVC.

    A signal that ends DVC alone does not reach its stage. Without a watch the stage would go on for nobody, and keep
    the next run out.
    """
    if OF_DVC not in os.environ:
        return
    with suppress(psutil.Error):
        command = _command_of_dvc()
        threading.Thread(target=_watch, args=(command, command.ppid()), daemon=True).start()


def _command_of_dvc() -> psutil.Process:
    """The process that DVC started: this one, or a shell or launcher above it."""
    process = psutil.Process()
    with suppress(psutil.Error):  # another user's process, so not one of this stage
        while (parent := process.parent()) is not None and parent.environ().get(OF_DVC) == os.environ[OF_DVC]:
            process = parent
    return process


def _watch(command: psutil.Process, dvc: int) -> None:
    with suppress(psutil.NoSuchProcess):
        while command.ppid() == dvc:
            time.sleep(SECONDS)
    if command.pid == os.getpid():
        with suppress(OSError):  # nobody may read it any more
            sys.stderr.write("DVC has ended, so its stage ends too; run the same command again to go on\n")
            sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGTERM)
