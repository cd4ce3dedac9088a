"""What DVC takes to keep and move a frame store.

    python -m speed.frame_sharing [CLIPS] [--link hardlink]

Writes a store of 10,000 clips of 16 frames, as a stage of a DVC graph. The frames are small (112 x 210), so that the
disk holds the store three times: in the folder, in the cache and in the remote, which is a folder too. Then 1 % more
clips come. `--link` is DVC's cache.type. The last line is JSON: seconds on the clock and of CPU by command, with the
files and bytes that each left behind.
"""

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed.arguments import parser
from speed.frame_store import rows
from stages.data.shards import ShardStore
from stages.video.frame_store import SCHEMA

log = logging.getLogger(__name__)

GRAPH = """
stages:
  frames:
    cmd: {python} -m speed.frame_sharing --write $(cat wanted)
    deps: [wanted]
    outs: [frames: {{ persist: true }}]
"""


def write(count: int) -> None:
    """Append the clips that the store in this folder lacks."""
    store = ShardStore(Path("frames"), SCHEMA)
    store.append(rows(range(len(store), count), height=112, width=210))


def timed(folder: Path, *command: str) -> dict[str, float]:
    """Run a command of DVC; returns its seconds."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "dvc", *command, "--quiet"], cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(cpu, 1)}


def size(*folders: Path) -> dict[str, float]:
    """Files and gigabytes that folders take on the disk.

    A file with several names counts once.
    """
    found = [path.lstat() for folder in folders for path in folder.rglob("*") if path.is_file()]
    blocks = {each.st_ino: each.st_blocks for each in found}
    return {"files": len(blocks), "gb": round(sum(blocks.values()) * 512 / 1e9, 3)}


def measure(folder: Path, count: int, link: str | None) -> dict[str, dict[str, float]]:
    """The figures of each command, in an empty folder."""
    os.environ["PYTHONPATH"] = os.getcwd()
    (folder / "dvc.yaml").write_text(GRAPH.format(python=sys.executable))
    for command in (["init", "--no-scm"], ["remote", "add", "--default", "shared", str(folder / "remote")]):
        timed(folder, *command)
    if link:
        timed(folder, "config", "cache.type", link)
    figures: dict[str, dict[str, float]] = {}
    for clips in (count, count + count // 100):
        (folder / "wanted").write_text(str(clips))
        figures |= {f"{clips} clips, {name}": found for name, found in measure_commands(folder).items()}
    return figures


def measure_commands(folder: Path) -> dict[str, dict[str, float]]:
    """The commands after new clips were asked for."""
    figures = {"repro": timed(folder, "repro") | size(folder / "frames", folder / ".dvc" / "cache")}
    figures["status"] = timed(folder, "status")
    figures["push"] = timed(folder, "push") | size(folder / "remote")
    figures["push again"] = timed(folder, "push")
    shutil.rmtree(folder / "frames")
    figures["checkout"] = timed(folder, "checkout") | size(folder / "frames")
    return figures


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("clips", nargs="?", type=int, default=10_000)
    arguments.add_argument("--link", help="DVC's cache.type, such as hardlink")
    arguments.add_argument("--write", action="store_true", help="for the stage that it runs: write the store here")
    chosen = arguments.parse_args()
    if chosen.write:
        write(chosen.clips)
        return
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), chosen.clips, chosen.link)
    for command, found in figures.items():
        log.info("%-26s %s", command, found)
    log.info(json.dumps(figures))


if __name__ == "__main__":
    main()
