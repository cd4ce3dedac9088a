"""What a flow run does for others.

It names itself to the runs that wait for it, ends with its worker, and reports earlier runs that were killed.
"""

import os
import re
import signal
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


def checkout_lock(home: Path) -> Path:
    """The lock that the run holds while it works on the checkout."""
    return home / ".dvc" / "tmp" / "flow.lock"


def run_name() -> str:
    """The text by which other runs know this one while they wait."""
    return f"flow run {flow_run.get_name()!r} {flow_run.get_id()} (process {os.getpid()})"


def tell_waiting(holder: str) -> None:
    """Logs which run this one waits for."""
    get_run_logger().warning("waiting: %s works on this checkout", holder)


def mark_crashed(holder: str) -> None:
    """Reports the lock's last holder as crashed if it was killed.

    A killed run cannot report its own end, so the server still takes it for running.
    """
    found = re.search(r"' ([0-9a-f-]{36}) \(process (\d+)\)$", holder)
    if not found or psutil.pid_exists(int(found[2])):
        return
    with get_client(sync_client=True) as client:
        try:
            last = client.read_flow_run(UUID(found[1]))
        except ObjectNotFound:  # it ran on another server
            return
        if last.state and (last.state.is_running() or last.state.is_cancelling()):
            get_run_logger().warning("%s was killed", holder)
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
