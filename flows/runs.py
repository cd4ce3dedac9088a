"""What a flow run does for others.

It names itself to the runs that wait for it, ends with its worker, and reports earlier runs that were killed.

    python -m flows.runs     # reports all killed runs of this checkout; `make ui` does it when it starts
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import psutil
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.checkout import find_checkout, run_locks
from flows.errors import one_line
from flows.lock import is_free

HOLDER = re.compile(r"flow run .* ([0-9a-f-]{36}) \(process (\d+) on (.+)\)")


def run_name() -> str:
    """The text by which other runs know this one while they wait."""
    return f"flow run {flow_run.get_name()!r} {flow_run.get_id()} (process {os.getpid()} on {socket.gethostname()})"


def tell_waiting(holder: str) -> None:
    """Logs which run this one waits for."""
    get_run_logger().warning("waiting: %s works on this checkout", holder)


def mark_crashed(holder: str) -> None:
    """Reports a lock's last holder as crashed if it was killed.

    A killed run cannot report its own end, so the server still takes it for running.
    """
    found = HOLDER.fullmatch(holder)
    if not found or found[3] != socket.gethostname() or psutil.pid_exists(int(found[2])):
        return
    with get_client(sync_client=True) as client:
        try:
            last = client.read_flow_run(UUID(found[1]))
        except ObjectNotFound:  # it ran on another server
            return
        if last.state and (last.state.is_running() or last.state.is_cancelling()):
            client.set_flow_run_state(last.id, Crashed(message="The process was killed."), force=True)


def end_with_worker() -> None:
    """Terminates this run when the worker that started it is gone.

    A run from the command line has no worker and goes on.
    """
    worker = os.getppid()

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if "PREFECT__FLOW_RUN_ID" in os.environ:
        threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Reports the killed runs of the checkout that the server knows."""
    with one_line("runs"):
        home = find_checkout(Path.cwd())
    for path in run_locks(home):
        if is_free(path):
            mark_crashed(path.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
