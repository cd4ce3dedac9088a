"""Which checkpoints count, and which are removed."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.model.checkpoints import (
    COMPLETE,
    PROCESSES,
    keep_newest,
    kept_state,
    last_checkpoint,
    make_durable,
    remove_cut_off,
)


def write(folder: Path, step: int, whole: bool = True, state: Mapping[str, object] | None = None) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "weights").write_bytes(bytes(1000))
    if whole:
        (checkpoint / COMPLETE).write_text(json.dumps(state or {}))
    return checkpoint


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_newest_is_the_one_of_the_latest_step_that_is_whole(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        write(tmp_path, step)
    write(tmp_path, 12, whole=False)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_what_was_cut_off_makes_room_and_the_rest_stays(tmp_path: Path) -> None:
    write(tmp_path, 2)
    write(tmp_path, 4, whole=False)
    (tmp_path / "rollouts").mkdir()
    remove_cut_off(tmp_path)
    assert names(tmp_path) == {"checkpoint-2", "rollouts"}


@pytest.mark.parametrize(("limit", "kept"), [(1, {"checkpoint-10"}), (2, {"checkpoint-4", "checkpoint-10"})])
def test_older_ones_are_removed_by_step_and_not_by_name(tmp_path: Path, limit: int, kept: set[str]) -> None:
    for step in (2, 4, 10):
        write(tmp_path, step)
    write(tmp_path, 6, whole=False)
    keep_newest(tmp_path, limit)
    assert names(tmp_path) == kept


def test_the_state_comes_back_with_the_number_of_processes_of_the_shards(tmp_path: Path) -> None:
    shards, plain = write(tmp_path, 2, state={"ema": {}, PROCESSES: 8}), write(tmp_path, 4, state={"ema": {"a": 1}})
    assert kept_state(shards) == ({"ema": {}}, 8)
    assert kept_state(plain) == ({"ema": {"a": 1}}, None)


def test_a_checkpoint_on_the_disk_has_the_bytes_of_all_its_files(tmp_path: Path) -> None:
    shards = write(tmp_path, 2, whole=False) / "global_step2"
    shards.mkdir()
    (shards / "optimizer").write_bytes(bytes(500))
    assert make_durable(shards.parent) == 1500
