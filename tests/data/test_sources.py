"""The kinds of sources: which rows each takes, and what from them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from pydantic import ValidationError

from stages.data.sample import Reject, Sample
from stages.data.sources import Source, read_source
from stages.run.errors import UserError
from stages.run.files import sha256_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.mp4").write_bytes(b"x")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "mine" / "red.png")
    return tmp_path


def samples(root: Path, **source: Any) -> list[Sample]:
    drafts = list(read_source(Source(name="s", **source), root, root / "embedded"))
    assert [draft for draft in drafts if isinstance(draft, Reject)] == []
    return [draft for draft in drafts if isinstance(draft, Sample)]


def facts(sample: Sample) -> tuple[object, ...]:
    return (sample.sample_id, sample.data_type, sample.problem_type, sample.options, sample.answer, sample.media_path)


def test_a_folder_of_media_is_read_with_its_table_of_questions(root: Path) -> None:
    (root / "mine" / "questions.csv").write_text(
        "path,problem,options,solution,problem_type,clip_start,clip_end\n"
        "a.mp4,Which way?,left|right,right,,,\n"
        "a.mp4,Which way?,A) left|B) right,A,,1,2.5\n"
        "red.png,What colour?,,red,free-form,,\n"
    )
    first, second, third = samples(root, folder="mine", licence="CC0-1.0")
    assert facts(first) == ("s-1", "video", "multiple choice", ("A. left", "B. right"), "B", str(root / "mine/a.mp4"))
    assert facts(second) == ("s-2", "video", "multiple choice", ("A) left", "B) right"), "A", str(root / "mine/a.mp4"))
    assert (second.clip_start, second.clip_end, second.licence) == (1.0, 2.5, "CC0-1.0")
    assert facts(third) == ("s-3", "image", "free-form", (), "red", str(root / "mine/red.png"))


def test_columns_of_other_names_and_values_that_all_rows_share_come_from_the_parameters(root: Path) -> None:
    (root / "mine" / "list.jsonl").write_text('{"clip": "a.mp4", "question": "How many?", "count": 3}\n')
    columns: dict[str, Any] = {"path": "clip", "problem": "question", "solution": "count"}
    (sample,) = samples(
        root, folder="mine", questions="list.jsonl", columns=columns, defaults={"problem_type": "numerical"}
    )
    assert facts(sample) == ("s-1", "video", "numerical", (), "3", str(root / "mine/a.mp4"))


def test_options_may_be_an_object_of_letters_and_texts(root: Path) -> None:
    row = {"path": "a.mp4", "problem": "Which way?", "options": {"B": "right", "A": "left"}, "solution": "A"}
    (root / "mine" / "list.jsonl").write_text(json.dumps(row))
    (sample,) = samples(root, folder="mine", questions="list.jsonl")
    assert (sample.problem_type, sample.options, sample.answer) == ("multiple choice", ("B. right", "A. left"), "A")


@pytest.mark.parametrize("kind", ["imagefolder", "videofolder"])
def test_a_folder_in_the_layout_of_datasets_keeps_its_media_where_it_is(root: Path, kind: str) -> None:
    name = {"imagefolder": "red.png", "videofolder": "a.mp4"}[kind]
    (root / "hub").mkdir()
    (root / "mine" / name).rename(root / "hub" / name)
    (root / "hub" / "metadata.csv").write_text(f"file_name,question,answer\n{name},What?,this\n")
    columns: dict[str, Any] = {"problem": "question", "solution": "answer"}
    (sample,) = samples(root, hub="hub", columns=columns, defaults={"problem_type": "free-form"})
    data_type = "image" if kind == "imagefolder" else "video"
    assert facts(sample) == ("s-1", data_type, "free-form", (), "this", str(root / "hub" / name))


@pytest.mark.parametrize("saved", ["parquet", "arrow"])
def test_media_inside_a_dataset_is_written_out_once_under_its_hash(root: Path, saved: str) -> None:
    picture = str(root / "mine" / "red.png")
    rows = {
        "image": [picture, picture],
        "problem": ["What colour?", "Which?"],
        "options": [["red", "blue"]] * 2,
        "solution": ["red", "B"],
    }
    (root / "parquet").mkdir()
    dataset = Dataset.from_dict(rows).cast_column("image", ImageFeature())
    dataset.save_to_disk(str(root / "arrow"))
    Dataset.load_from_disk(str(root / "arrow")).to_parquet(str(root / "parquet" / "train.parquet"))
    first, second = samples(root, hub=saved)
    digest = sha256_file(root / "mine" / "red.png")
    path = str(root / "embedded" / f"{digest}.png")
    assert facts(first) == ("s-1", "image", "multiple choice", ("A. red", "B. blue"), "A", path)
    assert (second.answer, second.media_path) == ("B", path)
    assert sha256_file(Path(path)) == digest


@pytest.mark.parametrize("cell", [{"path": 5}, {"bytes": 5}, {"bytes": "a"}, {}])
def test_a_media_cell_that_is_none_is_a_reject(root: Path, cell: dict[str, Any]) -> None:
    (root / "r.jsonl").write_text(
        json.dumps({"problem": "?", "problem_type": "free-form", "solution": "x", "path": cell})
    )
    (reject,) = read_source(Source(name="s", records="r.jsonl"), root, root / "embedded")
    assert isinstance(reject, Reject)
    assert "path: Input should be a valid string" in reject.detail


def test_a_dataset_that_is_damaged_midway_is_one_line(root: Path) -> None:
    picture = {"bytes": (root / "mine" / "red.png").read_bytes(), "path": "red." + "p" * 300}  # no suffix to keep
    rows = [{"image": picture, "problem": f"Question {number}?", "solution": "x" * 500} for number in range(4000)]
    (root / "cut").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), root / "cut" / "train.parquet", row_group_size=100, compression="none")
    data = bytearray((root / "cut" / "train.parquet").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50_000] = bytes(50_000)
    (root / "cut" / "train.parquet").write_bytes(data)
    drafts = read_source(Source(name="s", hub="cut", defaults={"problem_type": "free-form"}), root, root / "embedded")
    assert isinstance(next(drafts), Sample)
    with pytest.raises(UserError, match=r"source cut: .*; correct its files, or"):
        list(drafts)


def test_a_dataset_that_is_not_there_is_one_line(root: Path) -> None:
    Dataset.from_dict({"problem": ["?"]}).to_parquet(str(root / "mine" / "train.parquet"))
    with pytest.raises(
        UserError, match=r"source mine: .*nosuch.*; correct its files, or its `hub`, `config` or `hub_split`"
    ):
        list(read_source(Source(name="s", hub="mine", hub_split="nosuch"), root))


def test_evaluation_records_of_frame_folders_are_found_and_take_their_bounds_from_the_named_columns(root: Path) -> None:
    (root / "tvqa" / "castle_01").mkdir(parents=True)
    record = {
        "problem_id": 1601,
        "problem": "Why?",
        "data_type": "frame",
        "problem_type": "multiple choice",
        "start": 0.0,
        "end": 38.32,
    }
    record |= {
        "options": ["A. For trust", "B. For a bet"],
        "solution": "<answer>A</answer>",
        "path": "./tvqa/castle_01.mp4",
    }
    (root / "eval.json").write_text(json.dumps([record]))
    (sample,) = samples(root, records="eval.json", columns={"clip_start": "start", "clip_end": "end"})
    assert (sample.data_type, sample.media_path) == ("video", str(root / "tvqa" / "castle_01"))
    assert (sample.clip_start, sample.clip_end) == (0.0, 38.32)


@pytest.fixture
def thousand(root: Path) -> Path:
    record = {"problem": "?", "data_type": "video", "problem_type": "free-form", "solution": "x", "path": "mine/a.mp4"}
    (root / "r.json").write_text(json.dumps([record | {"problem_id": number} for number in range(1000)]))
    return root


def ids(root: Path, **source: Any) -> list[str]:
    return [sample.sample_id for sample in samples(root, records="r.json", **source)]


def test_a_weight_takes_its_share_by_the_ids_and_a_larger_one_the_same_and_more(thousand: Path) -> None:
    tenth, half = ids(thousand, weight=0.1), ids(thousand, weight=0.5)
    assert 70 < len(tenth) < 130
    assert 450 < len(half) < 550
    assert set(tenth) < set(half)
    assert ids(thousand, weight=0.5) == half


def test_a_limit_takes_the_first_of_what_the_weight_leaves(thousand: Path) -> None:
    assert ids(thousand, limit=2) == ["s-0", "s-1"]
    assert ids(thousand, weight=0.5, limit=3) == ids(thousand, weight=0.5)[:3]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "names one of records, hub and folder; this one names none"),
        ({"records": "r.json", "hub": "x"}, "this one names records and hub"),
        ({"folder": "mine", "hub_split": "test"}, "a source with folder takes no hub_split"),
        ({"records": "r.json", "weight": 1.5}, "less than or equal to 1"),
    ],
)
def test_an_entry_that_means_nothing_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Source(name="s", **entry)
