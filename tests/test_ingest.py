"""Ingestion on real media: usable files go on, others have a reason."""

import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from stages.data.sample import read_rejects, read_samples
from stages.data.sources import Source
from stages.ingest import IngestParams, run
from stages.run.errors import UserError
from stages.run.files import read_json, sha256_file
from stages.shapes import ShapesParams
from stages.shapes import run as render

QUESTION = {
    "problem": "Which way?",
    "problem_type": "multiple choice",
    "options": ["A. left", "B. right"],
    "solution": "<answer>A</answer>",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    render(ShapesParams(sft=3, rl=1, benchmark=1), folder)
    clips = sorted((folder / "video").glob("*.mp4"))
    clips[0].rename(folder / "good.mp4")
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").write_bytes(b"")
    Image.new("RGB", (40, 30), "red").save(folder / "picture.png")
    return folder


def run_in(out: Path, params: IngestParams) -> None:
    run(params, *(out / name for name in ("samples.parquet", "quarantine.parquet", "media", "metrics.json")))


def ingest(
    source: Path, out: Path, records: Sequence[Mapping[str, object]], max_rejected: float = 1.0
) -> tuple[dict[str, str], list[str]]:
    """Ids and media hashes of the samples; reasons of the others."""
    (source / "records.json").write_text(
        json.dumps([{**QUESTION, "problem_id": n, **record} for n, record in enumerate(records)])
    )
    params = IngestParams(
        root=str(source), sources=(Source(name="s", records="records.json"),), max_rejected=max_rejected, workers=1
    )
    run_in(out, params)
    kept = {sample.sample_id: sample.media_sha256 for sample in read_samples(out / "samples.parquet")}
    return kept, [reject.reason for reject in read_rejects(out / "quarantine.parquet")]


def test_good_media_pass_with_their_hash_and_each_bad_one_has_its_reason(source: Path, tmp_path: Path) -> None:
    kept, reasons = ingest(
        source,
        tmp_path,
        [
            {"path": "good.mp4", "data_type": "video"},
            {"path": "picture.png", "data_type": "image"},
            {"path": "picture.png", "data_type": "video"},
            {"path": "text.mp4", "data_type": "video"},
            {"path": "empty.mp4", "data_type": "video"},
            {"path": "nowhere.mp4", "data_type": "video"},
        ],
    )
    assert kept == {"s-0": sha256_file(source / "good.mp4"), "s-1": sha256_file(source / "picture.png")}
    assert len(reasons) == 4
    assert reasons[0] == "wrong media type"
    assert reasons[3] == "missing media"
    metrics = read_json(tmp_path / "metrics.json")
    assert (metrics["kept"], metrics["quarantined"], sum(metrics["reasons"].values())) == (2, 4, 4)
    assert metrics["composition"] == {"s / image / multiple choice": 1, "s / video / multiple choice": 1}


def test_every_source_is_taken_once_with_its_licence_unless_it_is_switched_off(source: Path, tmp_path: Path) -> None:
    records = [QUESTION | {"problem_id": number, "path": "good.mp4", "data_type": "video"} for number in ("b-1", 1)]
    (source / "some.json").write_text(json.dumps(records))
    (source / "more.jsonl").write_text("\n".join(map(json.dumps, records)))
    sources = (
        Source(name="a", records="some.json", licence="MIT"),
        Source(name="a-b", records="more.jsonl", limit=2),
        Source(name="off", records="nowhere.json", enabled=False),
    )
    run_in(tmp_path, IngestParams(root=str(source), sources=sources, max_rejected=0.5, workers=1))
    kept = read_samples(tmp_path / "samples.parquet")
    assert [(sample.sample_id, sample.licence) for sample in kept] == [
        ("a-b-1", "MIT"),
        ("a-1", "MIT"),
        ("a-b-b-1", ""),
    ]
    assert read_json(tmp_path / "metrics.json")["sources"] == {
        "a": {"kept": 2, "quarantined": 0, "licence": "MIT"},
        "a-b": {"kept": 1, "quarantined": 1, "licence": ""},  # its a-b-1 is taken
        "off": {"kept": 0, "quarantined": 0, "licence": ""},
    }


def test_sources_without_a_record_are_one_line(source: Path, tmp_path: Path) -> None:
    off = Source(name="off", records="nowhere.json", enabled=False)
    with pytest.raises(UserError, match="the sources have no records, or none of them is enabled"):
        run_in(tmp_path, IngestParams(root=str(source), sources=(off,), max_rejected=1.0))


def test_sources_of_one_name_are_refused(source: Path) -> None:
    with pytest.raises(ValidationError, match="several sources are called a"):
        IngestParams(root="x", sources=(Source(name="a", records="b"), Source(name="a", records="c")), max_rejected=0)


def test_frame_folders_and_clip_bounds_are_read_from_a_table_of_questions(source: Path, tmp_path: Path) -> None:
    for number in (1, 2, 10):  # by number, not by name: 10 is the last
        (source / "mine" / "frames").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (20 * number, 0, 0)).save(source / "mine" / "frames" / f"{number}.jpg")
    (source / "mine" / "frames" / "fps.txt").write_text("2")
    (source / "mine" / "leaving").mkdir()
    (source / "mine" / "leaving" / "00001.jpg").symlink_to(source / "picture.png")
    (source / "mine" / "standing").mkdir()
    (source / "mine" / "standing" / "00001.jpg").touch()
    (source / "mine" / "standing" / "fps.txt").write_text("0")
    rows = ["path,problem,options,solution,clip_start,clip_end"]
    rows += [
        "frames,Which?,A) red|B) blue,A,0.5,1.5",
        "frames,Which?,A) red|B) blue,A,1.5,",
        "frames,Which?,A) red|B) blue,A,1,0.5",
    ]
    rows += ["leaving,Which?,A) red|B) blue,A,,", "standing,Which?,A) red|B) blue,A,,"]
    (source / "mine" / "questions.csv").write_text("\n".join(rows))
    run_in(
        tmp_path,
        IngestParams(root=str(source), sources=(Source(name="s", folder="mine"),), max_rejected=0.9, workers=1),
    )
    (kept,) = read_samples(tmp_path / "samples.parquet")
    assert (kept.data_type, kept.options, kept.clip_start, kept.clip_end) == ("video", ("A) red", "B) blue"), 0.5, 1.5)
    rejects = read_rejects(tmp_path / "quarantine.parquet")
    assert [reject.reason for reject in rejects] == ["empty clip", "empty clip", "unreadable", "no timestamps"]


def test_too_many_bad_records_stop_the_stage_with_the_tables_path_and_the_table_is_there(
    source: Path, tmp_path: Path
) -> None:
    records = [{"path": "good.mp4", "data_type": "video"}, {"path": "text.mp4", "data_type": "video"}]
    with pytest.raises(
        UserError,
        match=r"1 of 2 records are unusable, more than ingest.max_rejected = 0.4; the reasons are in .*quarantine",
    ):
        ingest(source, tmp_path, records, max_rejected=0.4)
    assert len(read_rejects(tmp_path / "quarantine.parquet")) == 1
    assert not (tmp_path / "samples.parquet").exists()


def test_no_usable_record_stops_the_stage_whatever_the_limit(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^none of the 1 records is usable; the reasons are in .*; correct the source$"
    ):
        ingest(source, tmp_path, [{"path": "text.mp4", "data_type": "video"}], max_rejected=1.0)
    assert [reject.reason for reject in read_rejects(tmp_path / "quarantine.parquet")] == ["unreadable"]


def test_files_that_come_while_a_source_is_read_do_not_count_as_read(source: Path, tmp_path: Path) -> None:
    done = threading.Event()

    def copy() -> None:
        for number in itertools.count():
            (source / f"late-{number}.mp4").write_bytes(b"1")
            if done.wait(0.01):
                return

    copying = threading.Thread(target=copy)
    copying.start()
    try:
        with pytest.raises(UserError, match="changed while it was read; run again when all files are in place"):
            ingest(source, tmp_path, [{"path": "good.mp4", "data_type": "video"}])
    finally:
        done.set()
        copying.join()


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    records = [{"path": "good.mp4", "data_type": "video"}, {"path": "text.mp4", "data_type": "video"}]
    for run_number in ("a", "b"):
        ingest(source, tmp_path / run_number, records)
    for name in ("samples.parquet", "quarantine.parquet", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_the_real_clips_are_taken_or_named(testdata: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (testdata / "video").iterdir() if path.suffix != ".json")
    (tmp_path / "records.json").write_text(
        json.dumps([QUESTION | {"problem_id": name, "path": name, "data_type": "video"} for name in names])
    )
    source = Source(name="real", records=str(tmp_path / "records.json"))
    params = IngestParams(root=str(testdata / "video"), sources=(source,), max_rejected=0.5)
    run_in(tmp_path, params)
    refused = {reject.sample_id for reject in read_rejects(tmp_path / "quarantine.parquet")}
    assert refused == {"real-small__Mpeg4.mp4", "real-small__mp4-with-audio.mp4"}  # no frames; audio only
    assert len(read_samples(tmp_path / "samples.parquet")) == len(names) - 2
