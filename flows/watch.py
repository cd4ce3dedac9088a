"""Starts the deployment `new-data` when a folder with source data has changed.

    python -m flows.watch [--every 30]

`make ui` runs it. Watched are the folders that stages read and no stage makes, `data/video-r1` for instance. A change is what changes
the names, sizes or times of the files in there. It counts once two looks in a row agree: a copy that still goes on is not taken in half.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from prefect.deployments import run_deployment

from flows import dvc
from flows.dvc import UsageError

log = logging.getLogger("flows.watch")


class Watch:
    """What is known of a checkout's source folders. A folder is new data when it differs from what was last started for; what that
    was is kept in `.dvc/tmp`. A folder never seen before is noted, and nothing is started.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory = root / ".dvc" / "tmp" / "sources.json"
        self.last: dict[str, str] = {}

    def look(self, start: Callable[[Sequence[str]], None]) -> None:
        """Looks once, and calls `start` with the folders that hold new data; if it raises, they stay new."""
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
    """A hash of the names, sizes and times of all files in the folder; that of nothing if there is none."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(place, name)
            with suppress(FileNotFoundError):  # gone since it was listed: the next look differs
                found = os.stat(path)
                digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def start_run(folders: Sequence[str]) -> None:
    """Asks the server for a run of the deployment."""
    run = run_deployment("pipeline/new-data", flow_run_name=f"new data in {', '.join(folders)}", timeout=0)
    log.info("new data in %s: flow run %s", ", ".join(folders), getattr(run, "id", run))


def main(arguments: Sequence[str] | None = None) -> int:
    """Looks until it is ended; a server that is away, or a dvc.yaml that is being edited, is told and tried again."""
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
