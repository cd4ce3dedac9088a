"""Sources, media and benchmarks on a real S3-compatible server, through the stages' own command lines."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.data.sample import read_rejects, read_samples
from stages.run.files import read_json
from tests.conftest import ROOT
from tests.object_server import KEY_ID, SECRET, ObjectServer, object_server
from tests.video.clips import H264, encode
from tests.video.samples import PARAMS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

QUESTION = {"problem": "Which way?", "problem_type": "multiple choice", "options": ["left", "right"], "solution": "A"}
INGEST = {"root": "data", "max_rejected": 0.9, "workers": 1}
FLAGS = {
    "ingest": ("samples.parquet", "quarantine.parquet", "media", "ingest.json"),
    "frames": ("samples.parquet", "store", "keys.parquet", "clips.parquet", "rejects.parquet", "frames.json"),
}
NAMES = {
    "ingest": ("samples", "quarantine", "media", "metrics"),
    "frames": ("samples", "frame-store", "frame-keys", "clips", "rejects", "metrics"),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        encode(folder / f"{number}.mp4", frames=10 + number, **H264)
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: Path) -> Iterator[ObjectServer]:
    """A server with three clips below videos/, and a folder to work in."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with object_server(monkeypatch, tmp_path / "objects") as started:
        for clip in clips.iterdir():
            started.put(f"videos/{clip.name}", clip)
        yield started


def stage(name: str, *, source: dict[str, object] | None = None, code: int = 0, **params: object) -> str:
    """Run a stage; returns what it says."""
    ingest = {**INGEST, "sources": [source], **params}
    Path("params.yaml").write_text(json.dumps({"ingest": ingest, "frames": PARAMS}))
    flags = [text for flag, path in zip(NAMES[name], FLAGS[name], strict=True) for text in (f"--{flag}", path)]
    command = [sys.executable, "-m", f"stages.{name}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def source(asked: list[dict[str, object]], **more: object) -> dict[str, object]:
    Path("data/records.json").write_text(
        json.dumps([{**QUESTION, "problem_id": number, **record} for number, record in enumerate(asked)])
    )
    return {"name": "s", "records": "records.json", "media": "s3://bucket/videos", **more}


def test_media_on_a_server_give_the_frames_that_local_media_give(server: ObjectServer, clips: Path) -> None:
    named = source([{"path": "0.mp4"}, {"path": "./1.mp4"}, {"path": "s3://bucket/videos/2.mp4"}])
    stage("ingest", source=named)
    assert [sample.media_path for sample in read_samples(Path("samples.parquet"))] == [
        f"s3://bucket/videos/{number}.mp4" for number in range(3)
    ]
    objects = pq.read_table("media/objects.parquet").to_pylist()
    assert [(row["address"], row["size"]) for row in objects] == [
        (f"s3://bucket/videos/{number}.mp4", (clips / f"{number}.mp4").stat().st_size) for number in range(3)
    ]
    assert server.count("GET") == 3
    stage("frames", source=named)
    assert server.count("GET") == 3  # the copies of ingest
    there = Path("store/00000.parquet").read_bytes()

    Path("store/00000.parquet").unlink()
    os.symlink(clips, "data/videos")
    local = source([{"path": "0.mp4"}, {"path": "1.mp4"}, {"path": "2.mp4"}], media="../clips")
    Path("clips").symlink_to(clips)
    stage("ingest", source=local | {"media": str(clips)})
    assert not Path("media/objects.parquet").exists()
    stage("frames", source=local)
    assert Path("store/00000.parquet").read_bytes() == there


def test_records_and_a_folder_of_media_may_be_on_the_server_too(server: ObjectServer, clips: Path) -> None:
    server.put("videos/questions.csv", b"path,problem,options,solution\n0.mp4,Which?,left|right,left\n")
    stage("ingest", source={"name": "s", "folder": "s3://bucket/videos"})
    (sample,) = read_samples(Path("samples.parquet"))
    assert (sample.answer, sample.media_path) == ("A", "s3://bucket/videos/0.mp4")
    server.put("records.jsonl", (json.dumps(QUESTION | {"path": "0.mp4"}) + "\nno JSON\n").encode())
    stage("ingest", source=source([], records="s3://bucket/records.jsonl"))
    assert [reject.reason for reject in read_rejects(Path("quarantine.parquet"))] == ["invalid record"]
    server.put("broken.json", b"[{")
    said = stage("ingest", source=source([], records="s3://bucket/broken.json"), code=1)
    assert said.startswith("ingest: s3://bucket/broken.json: not readable as JSON")
    said = stage("ingest", source=source([], records="s3://bucket/nowhere.json"), code=1)
    assert said == "ingest: s3://bucket/nowhere.json: missing: the server has no such object\n"


def test_each_fault_of_a_server_is_a_row_with_its_reason_and_no_key_is_written(
    server: ObjectServer, clips: Path
) -> None:
    whole = (clips / "0.mp4").read_bytes()
    server.put("videos/short.mp4", whole[: len(whole) // 2])
    for fault in ("503", "cut", "denied"):
        server.put(f"videos/{fault}.mp4", whole)
        server.faults[f"{fault}.mp4"] = fault
    names = ["0", "nowhere", "short", "503", "cut", "denied", "../other", "s3://other/a", "http://127.0.0.1:9/a"]
    said = stage("ingest", source=source([{"path": f"{name}.mp4"} for name in names]))
    rejects = read_rejects(Path("quarantine.parquet"))
    assert [reject.reason for reject in rejects] == [
        *("missing", "unreadable", "unreachable", "unreachable", "inaccessible", *["path escapes"] * 3)
    ]
    written = [path for path in Path().rglob("*") if path.is_file()]
    assert len(written) > 5
    for secret in (KEY_ID, SECRET):
        assert secret not in said
        assert [path for path in written if secret.encode() in path.read_bytes()] == []


def test_a_changed_object_is_noticed_by_the_next_ingest_and_refused_by_frames(
    server: ObjectServer, clips: Path
) -> None:
    named = source([{"path": "0.mp4"}, {"path": "1.mp4"}])
    assert "changed" not in stage("ingest", source=named)
    assert "changed" not in stage("ingest", source=named)
    assert server.count("GET") == 2
    server.put("videos/0.mp4", clips / "2.mp4")
    for copy in Path("objects").glob("*.mp4"):
        copy.unlink()
    stage("frames", source=named)
    assert [(reject.sample_id, reject.reason) for reject in read_rejects(Path("rejects.parquet"))] == [
        ("s-0", "changed")
    ]
    said = stage("ingest", source=named)
    assert "1 objects have changed since the last ingest, first s3://bucket/videos/0.mp4" in said
    stage("frames", source=named)
    assert read_rejects(Path("rejects.parquet")) == []


def test_offline_both_stages_run_again_from_the_cache(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    named = source([{"path": "0.mp4"}, {"path": "1.mp4"}])
    stage("ingest", source=named)
    first = Path("samples.parquet").read_bytes()
    server.stop()
    monkeypatch.setenv("OFFLINE", "1")
    stage("ingest", source=named)
    stage("frames", source=named)
    assert Path("samples.parquet").read_bytes() == first
    assert read_json(Path("frames.json"))["kept"] == 2


def test_a_server_that_is_gone_stops_the_stage_in_one_line_that_flows_may_try_again(server: ObjectServer) -> None:
    named = source([{"path": f"{number}.mp4"} for number in range(40)])
    server.stop()
    said = stage("ingest", source=named, code=os.EX_TEMPFAIL, workers=8)
    assert said.splitlines()[-1].startswith(
        "ingest: 16 objects in a row, the last: no answer (EndpointConnectionError)"
    )
    assert len(said.splitlines()) <= 21


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"media": "http://127.0.0.1/a"}, "an address begins with s3://, gs://, hf:// and nothing else"),
        ({"records": "simplecache::s3://bucket/a"}, "an address begins with s3://, gs://, hf:// and nothing else"),
        ({"media": f"s3://{KEY_ID}:{SECRET}@bucket/a"}, "without user, password or port"),
        ({"media": "s3://bucket/a/../b"}, "a key has no empty part, no `.` and no `..`"),
        ({"records": None, "hub": "s3://bucket/a"}, "an address goes to records, media or folder"),
    ],
)
def test_an_address_that_is_not_taken_is_one_line_without_its_text(
    server: ObjectServer, changed: dict[str, object], message: str
) -> None:
    said = stage("ingest", source=source([], **changed), code=1)
    assert said.count("\n") == 1
    assert message in said
    assert SECRET not in said
    assert server.requests == []


def test_the_root_is_a_folder(server: ObjectServer) -> None:
    said = stage("ingest", source=source([]), code=1, root="s3://bucket/videos")
    assert "root is a folder of this machine" in said


def benchmark(root: str, code: int = 0) -> str:
    """Run the benchmark stage for the embedded benchmark; returns what it says."""
    Path("params.yaml").write_text(json.dumps({"benchmark": {"defaults": PARAMS}}))
    command = [sys.executable, "-m", "stages.benchmark", "--name", "shapes", "--root", root, "--out", "out"]
    done = subprocess.run([*command, "--metrics", "metrics.json"], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_a_benchmark_on_a_server_is_fetched_once_and_anew_when_it_has_changed(
    server: ObjectServer, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [QUESTION | {"problem_id": number, "path": f"{number}.mp4", "data_type": "video"} for number in range(2)]
    server.put("videos/benchmark.json", json.dumps(records).encode())
    Path("data/shapes").write_text("s3://bucket/videos\n")
    benchmark("data/shapes")
    first = Path("out/frames/00000.parquet").read_bytes()
    assert [sample.sample_id for sample in read_samples(Path("out/samples.parquet"))] == ["shapes-0", "shapes-1"]
    fetched = server.count("GET")
    benchmark("s3://bucket/videos")  # the same folder, named on the command line
    assert server.count("GET") == fetched + 1  # the list alone
    assert Path("out/frames/00000.parquet").read_bytes() == first

    server.put("videos/1.mp4", clips / "2.mp4")
    assert "1 objects of s3://bucket/videos have changed, first 1.mp4; all are fetched again" in benchmark(
        "data/shapes"
    )
    server.stop()
    monkeypatch.setenv("OFFLINE", "1")
    benchmark("data/shapes")
    (Path(".work/hub/s3--bucket--videos") / "1.mp4").unlink()
    assert "OFFLINE=1 is set, and .work/hub/s3--bucket--videos does not have all" in benchmark("data/shapes", 75)


def test_a_benchmarks_address_that_is_bad_or_has_nothing_is_one_line(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("data/shapes").write_text(f"s3://{KEY_ID}:{SECRET}@bucket/a\n")
    said = benchmark("data/shapes", 1)
    assert said.startswith("benchmark: the benchmark's address is refused: an address begins with s3://bucket")
    assert SECRET not in said
    assert "s3://bucket/nothing: missing: no objects below" in benchmark("s3://bucket/nothing", 1)
    server.put("odd/a/b.json", b"[]")
    server.put("odd/a.json/b.json", b"[]")
    server.put("odd/a.json", b"[]")
    assert "another object has its name as a folder" in benchmark("s3://bucket/odd", 1)
    monkeypatch.setenv("OBJECT_CACHE_GB", "0.000001")
    assert "raise OBJECT_CACHE_GB for more" in benchmark("s3://bucket/videos", 1)
