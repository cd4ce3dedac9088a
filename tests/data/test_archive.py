"""The archive of answers, alone and behind the store of a run."""

import multiprocessing
from pathlib import Path

import pyarrow as pa
import pytest

from stages.data.archive import Archive
from stages.data.journal import JournaledStore

SCHEMA = pa.schema([("key", pa.string()), ("text", pa.string())])


def row(key: str) -> dict[str, str]:
    return {"key": key, "text": f"answer {key}"}


def store(place: Path, archive: Path) -> JournaledStore:
    return JournaledStore(place / "responses", place / "journal.jsonl", SCHEMA, archive=Archive(archive, SCHEMA))


def shards(place: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((place / "responses").glob("*.parquet"))]


def test_answers_that_left_the_shards_are_found_in_the_archive_and_come_back_in_order(tmp_path: Path) -> None:
    with store(tmp_path / "one", tmp_path / "archive") as first:
        first.add([row("b"), row("a")])
        first.merge(["a", "b"])
    with store(tmp_path / "two", tmp_path / "archive") as second:  # another checkout, or this one after `dvc checkout`
        assert "a" in second
        assert second.read("b") == row("b")
        second.merge(["a", "b"])
    assert shards(tmp_path / "two") == shards(tmp_path / "one")


def test_only_the_answers_that_a_run_uses_come_back(tmp_path: Path) -> None:
    Archive(tmp_path / "archive", SCHEMA).add([row("a"), row("b")])
    with store(tmp_path, tmp_path / "archive") as answers:
        answers.merge(["b"])
    with JournaledStore(tmp_path / "responses", tmp_path / "journal.jsonl", SCHEMA) as alone:
        assert ("a" in alone, "b" in alone) == (False, True)


def test_answers_of_before_the_archive_are_copied_to_it(tmp_path: Path) -> None:
    with JournaledStore(tmp_path / "responses", tmp_path / "journal.jsonl", SCHEMA) as old:
        old.add([row("a")])
        old.merge([])
    with store(tmp_path, tmp_path / "archive") as answers:
        answers.merge([])
    assert Archive(tmp_path / "archive", SCHEMA).read("a") == row("a")


def test_a_key_that_nobody_answered_is_a_key_error(tmp_path: Path) -> None:
    with store(tmp_path, tmp_path / "archive") as answers, pytest.raises(KeyError, match="z"):
        answers.read("z")


def add_many(folder: Path, start: int) -> None:
    archive = Archive(folder, SCHEMA)
    for number in range(start, start + 40):
        archive.add([row(str(number))])


def test_two_processes_add_to_one_archive_and_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=add_many, args=(tmp_path / "archive", start)) for start in (0, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    archive = Archive(tmp_path / "archive", SCHEMA)
    assert [archive.read(str(number)) for number in range(60)] == [row(str(number)) for number in range(60)]
