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
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import httpx
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectException

from flows import dvc
from flows.checkout import find_checkout
from flows.errors import UsageError, one_line
from flows.source_files import source_files

log = logging.getLogger("flows.watch")


class Watch:
    """What is known of the source folders of a checkout.

    A folder holds new data when it differs from the state for which a run was started last. That state is kept in
    `.dvc/tmp`. A folder that is seen for the first time is noted at once, so that every later change of it counts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memory = root / ".dvc" / "tmp" / "sources.json"
        self.last: dict[str, str] | None = None

    def look(self, start: Callable[[Sequence[str]], None]) -> None:
        """Looks once and calls `start` with the folders that hold new data.

        The folders stay new when `start` raises.
        """
        handled: dict[str, str] = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        now = {str(folder): fingerprint(folder) for folder in dvc.source_folders(self.root)}
        self.announce(now.keys(), handled)
        if unseen := now.keys() - handled.keys():
            handled |= {folder: now[folder] for folder in unseen}
            self.remember(handled)
        last, self.last = self.last or {}, now
        settled = {folder: value for folder, value in now.items() if last.get(folder) == value}
        if changed := [folder for folder, value in settled.items() if handled[folder] != value]:
            start(changed)
            self.remember(handled | settled)

    def announce(self, folders: Collection[str], handled: Mapping[str, str]) -> None:
        """Says which folders are watched, and from when on a change counts."""
        before = self.last
        if before is None and not folders:
            log.info("no source folder to watch: a stage makes all the data")
        for folder in folders:
            if folder not in handled:
                log.info("watching %s: a change from now on (%s) starts a run", folder, time.strftime("%H:%M:%S"))
            elif before is None:
                since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.memory.stat().st_mtime))
                log.info("watching %s: a change since %s starts a run", folder, since)

    def remember(self, handled: Mapping[str, str]) -> None:
        """Keeps the state of the folders, also over a restart."""
        self.memory.parent.mkdir(exist_ok=True)
        temporary = self.memory.with_suffix(".new")
        temporary.write_text(json.dumps(handled))
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

    When the server is away, or dvc.yaml or a folder cannot be read, it says so and tries again.
    """
    parser = argparse.ArgumentParser(
        "python -m flows.watch", description="Start the deployment new-data when source data changes."
    )
    parser.add_argument("--every", type=float, default=30, metavar="SECONDS")
    every = parser.parse_args(arguments).every
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with one_line("watch"):
        watch = Watch(find_checkout(Path.cwd()))
    while True:
        try:
            watch.look(start_run)
        except (UsageError, OSError, httpx.HTTPError, PrefectException) as error:
            log.warning("%s", error)
        time.sleep(every)


if __name__ == "__main__":
    sys.exit(main())
