"""`make ui`: Prefect's server and all that belongs to it, until Ctrl-C.

    python -m flows.serve [--port 4200]

Beside the server run a worker, the watch over source data and the report's page; the deployments are those of
prefect.yaml. Everything listens on loopback only. The server keeps its data in PREFECT_HOME (default ~/.prefect).
"""

import argparse
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import httpx

from flows import process_tree
from flows import server as prefect_server
from flows.checkout import find_checkout
from flows.errors import UsageError, one_line
from flows.port import port_number
from flows.server import HOST
from flows.text import printable

log = logging.getLogger("flows.serve")
POOL = "local"
STARTUP_SECONDS = 180
GRACE = 30  # seconds that a part has to end
WORKER_GRACE = 5  # it would wait for runs, which are cancelled before or have lost their server
CANCEL_SECONDS = 60
LIVE = ["RUNNING", "PENDING", "CANCELLING"]
SETTINGS = {  # as Prefect comes, a click starts a run after up to 10 s, and the end of a stage shows after up to 5 s
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Starts all parts; stops them on Ctrl-C, TERM or when one ends."""
    parser = argparse.ArgumentParser(
        "python -m flows.serve", description="Run the Prefect UI, a worker and the deployments on loopback."
    )
    parser.add_argument("--port", type=port_number, default=4200)
    port = parser.parse_args(arguments).port
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for ending in (signal.SIGTERM, signal.SIGINT):  # a background job of a script ignores SIGINT by default
        signal.signal(ending, interrupt)
    try:
        with one_line("serve"), ExitStack() as running:
            home = find_checkout(Path.cwd())
            os.chdir(home)
            return serve(port, environment(home, port), running)
    except KeyboardInterrupt:
        log.info("stopped")
        return 0


def serve(port: int, env: Mapping[str, str], running: ExitStack) -> int:
    """Runs the parts; returns 1 when one of them ends by itself."""
    refuse_taken(port, port + 1)
    server = start(running, env, "flows.server_app", "--port", str(port))
    watch = start(running, env, "flows.watch", server=server)  # at once: a change while the server starts counts
    prefect_server.wait_until_healthy(server, port, STARTUP_SECONDS)
    call(env, "prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite")
    call(env, "prefect", "--no-prompt", "deploy", "--all")
    call(env, "flows.runs")
    if env.get("VIDEO_R1_WEBHOOK"):
        call(env, "flows.notify")
    worker = start(running, env, "prefect", "worker", "start", "--pool", POOL, server=server, grace=WORKER_GRACE)
    report = start(running, env, "flows.report_server", "--port", str(port + 1))
    key = env["PREFECT_API_AUTH_STRING"]
    log.info("Prefect UI: http://%s:%d/login#%s   (Ctrl-C stops it)", HOST, port, quote(key, safe=":"))
    log.info("to start runs from another terminal: export %s", exports(env))
    parts = {"server": server, "worker": worker, "watch": watch, "report": report}
    try:
        while not (ended := [name for name, part in parts.items() if part.poll() is not None]):
            time.sleep(0.5)
    except KeyboardInterrupt:
        log.info("stopping; a run that is under way ends as Cancelled")
        cancel_runs(env)
        raise
    causes = " and ".join(f"the {name} ended by itself ({cause(parts[name].returncode)})" for name in ended)
    log.error("%s, so everything stops; the next `make ui` reports runs that were under way as crashed", causes)
    return 1


def exports(env: Mapping[str, str]) -> str:
    """The variables by which another terminal finds the server."""
    return " ".join(f"{name}={env[name]}" for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"))


def cause(status: int) -> str:
    """How a process ended, from its status as in a shell."""
    return f"killed by signal {status - 128}" if status > 128 else f"status {status}"


def cancel_runs(env: Mapping[str, str]) -> None:
    """Cancels the runs of the worker and waits for their ends.

    A server that no longer answers has nothing to cancel.
    """
    user, _, password = env["PREFECT_API_AUTH_STRING"].partition(":")
    query = {
        "flow_runs": {"state": {"type": {"any_": LIVE}}},
        "work_pools": {"name": {"any_": [POOL]}},
    }
    deadline = time.monotonic() + CANCEL_SECONDS
    asked: set[str] = set()
    try:
        with httpx.Client(base_url=env["PREFECT_API_URL"], auth=(user, password), timeout=30) as client:
            while runs := client.post("/flow_runs/filter", json=query).raise_for_status().json():
                for run in runs:
                    if run["id"] not in asked:
                        state = {"state": {"type": "CANCELLING", "message": "`make ui` was stopped."}}
                        client.post(f"/flow_runs/{run['id']}/set_state", json=state)
                        asked.add(run["id"])
                if time.monotonic() > deadline:
                    log.warning("%d runs have not ended after %d s and are killed", len(runs), CANCEL_SECONDS)
                    return
                time.sleep(0.5)
    except httpx.HTTPError as error:
        log.warning("the runs could not be cancelled: %s", error)


def refuse_taken(*ports: int) -> None:
    """Ends the program when something listens on one of the ports.

    That may be the server of another checkout, and the deployments of this one would go to it.
    """
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                raise UsageError(
                    f"port {port} is taken. If `make ui` runs for another checkout, "
                    "give this one a server with data of its own:\n"
                    f"PREFECT_HOME=~/.prefect-2 python -m flows.serve --port {max(ports) + 100}"
                )


def environment(home: Path, port: int) -> dict[str, str]:
    """The environment that all parts share."""
    return {
        **SETTINGS,
        **prefect_server.environment(port, prefect_server.new_key()),
        "PYTHONPATH": os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "VIDEO_R1_CHECKOUT": str(home),
        "VIDEO_R1_REPORT_URL": f"http://{HOST}:{port + 1}/index.html",
    }


def start(
    running: ExitStack,
    env: Mapping[str, str],
    *module: str,
    server: "subprocess.Popen[bytes] | None" = None,
    grace: float = GRACE,
) -> "subprocess.Popen[bytes]":
    """Starts `python -m module …` and stops it when `running` is left.

    What a client of `server` writes is shown for as long as that lives: its complaints about a server that is gone
    help nobody.
    """
    stdout = None if server is None else subprocess.PIPE
    part = process_tree.start_supervised([sys.executable, "-m", *module], env, grace, stdout)
    running.callback(process_tree.end_supervised, part)
    if server and part.stdout:
        threading.Thread(target=show_while_alive, args=(part.stdout.fileno(), server), daemon=True).start()
    return part


def show_while_alive(descriptor: int, server: "subprocess.Popen[bytes]") -> None:
    """Writes what comes from a pipe while the server lives.

    It writes a moment late, to see the end of the server first.
    """
    while text := os.read(descriptor, 65536):
        try:
            server.wait(0.3)
        except subprocess.TimeoutExpired:
            sys.stdout.buffer.write(text)
            sys.stdout.flush()


def call(env: Mapping[str, str], *module: str) -> None:
    """Runs `python -m module …` to its end.

    Its output shows only when it failed.
    """
    done = subprocess.run([sys.executable, "-m", *module], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        for line in (done.stdout + done.stderr).splitlines():
            log.error("%s", printable(line))
        raise UsageError(f"{' '.join(module)} failed; the lines above are its own")


def interrupt(number: int, frame: FrameType | None) -> None:
    """TERM stops everything just as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
