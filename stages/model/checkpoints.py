"""Checkpoints that are whole or known to be cut off."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.run.files import read_json, sync_folder

COMPLETE = "complete.json"  # written last: a checkpoint without it was cut off by a kill or a full disk
PROCESSES = "zero_processes"  # in it: how many processes ZeRO's shards belong to; absent without DeepSpeed


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    return max(_whole(directory), key=_step, default=None)


def kept_state(checkpoint: Path) -> tuple[Mapping[str, Any], int | None]:
    """The trainer's state, and the number of processes of ZeRO's shards."""
    state = read_json(checkpoint / COMPLETE)
    return state, state.pop(PROCESSES, None)


def remove_cut_off(directory: Path) -> None:
    """Free the room of checkpoints that were not written to their end."""
    _remove(directory, keep=_whole(directory))


def make_durable(checkpoint: Path) -> int:
    """Bring all files to the disk; returns their bytes.

    Otherwise `COMPLETE` could outlive a power cut that loses what was written before it.
    """
    sync_folder(checkpoint)
    return sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())


def keep_newest(directory: Path, limit: int) -> None:
    """Remove all but the newest `limit` whole checkpoints."""
    _remove(directory, keep=sorted(_whole(directory), key=_step)[-limit:])


def _whole(directory: Path) -> list[Path]:
    return [path.parent for path in directory.glob(f"checkpoint-*/{COMPLETE}")]


def _remove(directory: Path, keep: list[Path]) -> None:
    for folder in directory.glob("checkpoint-*"):
        if folder not in keep:
            (folder / COMPLETE).unlink(missing_ok=True)  # a kill in the middle leaves a folder that counts as cut off
            shutil.rmtree(folder)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
