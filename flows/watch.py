"""Starts the deployment `new-data` when a folder with source data has changed.

    python -m flows.watch [--every 30]

`make ui` runs it. It watches the folders that stages read and no stage makes, `data/video-r1` for instance. A folder
has changed when the names, sizes or times of its files differ. A change counts once two looks in a row agree, so that a
copy in progress is not taken in half.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
from prefect.deployments import run_deployment

from flows import dvc
from flows.errors import UsageError
from flows.source_files import source_files

log = logging.getLogger("flows.watch")


class Watch:
    """What is known of the source folders of a checkout.

    A folder holds new data when it differs from the state for which a run was started last. That state is kept in
    `.dvc/tmp`. A folder that is seen for the first time is noted, and no run is started for it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory = root / ".dvc" / "tmp" / "sources.json"
        self.last: dict[str, str] = {}

    def look(self, start: Callable[[Sequence[str]], None]) -> None:
        """Looks once and calls `start` with the folders that hold new data.

        The folders stay new when `start` raises.
        """
        handled: dict[str, str] = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        now = {str(folder): fingerprint(folder) for folder in dvc.source_folders(self.root)}
        settled = {folder: value for folder, value in now.items() if self.last.get(folder) == value}
        self.last = now
        if changed := [folder for folder, value in settled.items() if handled.get(folder, value) != value]:
            start(changed)
        if settled.items() - handled.items():
            self.memory.parent.mkdir(exist_ok=True)
            temporary = self.memory.with_suffix(".new")
            temporary.write_text(json.dumps(handled | settled))
            temporary.replace(self.memory)


def fingerprint(folder: Path) -> str:
    """A hash of the names, sizes and times of the folder's files.

    A folder that does not exist has the hash of an empty one. UsageError for a file that cannot be hashed.
    """
    digest = hashlib.sha256()
    for path, found in source_files(folder):
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def start_run(folders: Sequence[str]) -> None:
    """Asks the server for a run of the deployment."""
    run = run_deployment("pipeline/new-data", flow_run_name=f"new data in {', '.join(folders)}", timeout=0)
    log.info("new data in %s: flow run %s", ", ".join(folders), getattr(run, "id", run))


def main(arguments: Sequence[str] | None = None) -> int:
    """Looks again and again until it is ended.

    When the server is away or dvc.yaml cannot be read, it says so and tries again.
    """
    parser = argparse.ArgumentParser(
        "python -m flows.watch", description="Start the deployment new-data when source data changes."
    )
    parser.add_argument("--every", type=float, default=30, metavar="SECONDS")
    every = parser.parse_args(arguments).every
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    watch = Watch(Path.cwd())
    while True:
        try:
            watch.look(start_run)
        except (UsageError, httpx.HTTPError) as error:
            log.warning("%s", error)
        time.sleep(every)


if __name__ == "__main__":
    sys.exit(main())
