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
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen

log = logging.getLogger("flows.serve")
HOST = "127.0.0.1"
STARTUP_SECONDS = 180
SETTINGS = {  # as Prefect comes, a click starts a run after up to 10 s, and the end of a stage shows after up to 5 s
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Starts all parts; stops them on Ctrl-C, TERM or when one ends."""
    parser = argparse.ArgumentParser(
        "python -m flows.serve", description="Run the Prefect UI, a worker and the deployments on loopback."
    )
    parser.add_argument("--port", type=int, default=4200)
    port = parser.parse_args(arguments).port
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for ending in (signal.SIGTERM, signal.SIGINT):  # a script's background job would ignore the second
        signal.signal(ending, interrupt)
    env = environment(port)
    try:
        with ExitStack() as running:
            return serve(port, env, running)
    except KeyboardInterrupt:
        log.info("stopped")
        return 0


def serve(port: int, env: Mapping[str, str], running: ExitStack) -> int:
    """Runs the parts; returns 1 when one of them ends by itself."""
    refuse_taken(port, port + 1)
    server = start(running, env, "prefect", "server", "start", "--host", HOST, "--port", str(port))
    wait_until_healthy(server, env["PREFECT_API_URL"])
    call(env, "prefect", "work-pool", "create", "local", "--type", "process", "--overwrite")
    call(env, "prefect", "--no-prompt", "deploy", "--all")
    if env.get("VIDEO_R1_WEBHOOK"):
        call(env, "flows.notify")
    worker = start(running, env, "prefect", "worker", "start", "--pool", "local")
    watch = start(running, env, "flows.watch")
    report = start(running, env, "http.server", str(port + 1), "--bind", HOST, "--directory", "report")
    log.info("Prefect UI: http://%s:%d   (Ctrl-C stops it)", HOST, port)
    parts = {"server": server, "worker": worker, "watch": watch, "report": report}
    while not (ended := [name for name, part in parts.items() if part.poll() is not None]):
        time.sleep(0.5)
    log.error("the %s ended by itself, so everything stops; the reason stands above", " and the ".join(ended))
    return 1


def refuse_taken(*ports: int) -> None:
    """Ends the program when something listens on one of the ports.

    That may be the server of another checkout, and the deployments of this one would go to it.
    """
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                raise SystemExit(
                    f"port {port} is taken. If `make ui` runs for another checkout, "
                    "give this one a server with data of its own:\n"
                    f"PREFECT_HOME=~/.prefect-2 python -m flows.serve --port {max(ports) + 100}"
                )


def environment(port: int) -> dict[str, str]:
    """The environment that all parts share.

    The UI finds its server only if the address and the port are set along with `--port`.
    """
    return {
        **SETTINGS,
        **os.environ,
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "VIDEO_R1_CHECKOUT": str(Path.cwd()),
        "VIDEO_R1_REPORT_URL": f"http://{HOST}:{port + 1}/index.html",
    }


def start(running: ExitStack, env: Mapping[str, str], *module: str) -> subprocess.Popen[bytes]:
    """Starts `python -m module …` and stops it when `running` is left.

    The terminal's Ctrl-C does not reach it.
    """
    part = subprocess.Popen([sys.executable, "-m", *module], env=env, start_new_session=True)
    running.callback(stop, part)
    return part


def stop(part: subprocess.Popen[bytes]) -> None:
    """Asks a part to end and waits.

    The worker gets time, because it cancels its runs.
    """
    part.terminate()
    try:
        part.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(part.pid, signal.SIGKILL)


def call(env: Mapping[str, str], *module: str) -> None:
    """Runs `python -m module …` to its end.

    Its output shows only when it failed.
    """
    done = subprocess.run([sys.executable, "-m", *module], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(module)} failed:\n{done.stdout}{done.stderr}")


def wait_until_healthy(server: subprocess.Popen[bytes], api: str) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the Prefect server did not start at {api}")
        try:
            with urlopen(f"{api}/health", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise SystemExit(f"the Prefect server does not answer at {api} after {STARTUP_SECONDS} s")


def interrupt(number: int, frame: FrameType | None) -> None:
    """TERM stops everything just as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
