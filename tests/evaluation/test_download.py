"""Benchmarks by name, from a local server that speaks the hub's protocol."""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from stages import benchmark
from stages.data.sample import Reject, Sample
from stages.evaluation import download
from stages.evaluation.benchmarks import vsi_bench
from stages.run.addresses import Address
from stages.run.errors import UserError
from stages.run.object_cache import local_file
from stages.run.objects import ObjectError

ROW = {
    "dataset": "scannet",
    "question_type": "route_planning",
    "question": "Which?",
    "ground_truth": "B",
    "options": ["A. left", "B. right"],
}
COMMIT = "0" * 40
PARAMS = benchmark.BenchmarkParams(
    policy="uniform", min_pixels=2304, max_pixels=2304, factor=16, kernel="pillow", max_rejected=0.0
)


def fetched(root: Path) -> Path:
    return download.fetch(*download.dataset_names(root))


def test_a_named_dataset_is_fetched_once_and_its_archives_unpacked(hub_server: list[str]) -> None:
    root = fetched(Path("some/VSI-Bench"))
    sample, without_media = vsi_bench.read(root)
    assert isinstance(sample, Sample)
    assert Path(sample.media_path).read_bytes() == b"clip"
    assert isinstance(without_media, Reject)
    assert not list(root.rglob("*.py"))
    assert sorted(path.rpartition("/")[2] for path in hub_server if "/resolve/" in path) == [
        "scannet.zip",
        "test.jsonl",
    ]
    hub_server.clear()
    (root / "scannet" / "s1.mp4").unlink()
    assert fetched(Path("some/VSI-Bench")) == root
    assert not [path for path in hub_server if path.endswith("scannet.zip")]
    assert not (root / "scannet" / "s1.mp4").exists()  # unpacked once


def test_two_processes_at_once_unpack_once(hub_server: list[str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fetched, [Path("some/VSI-Bench")] * 2)
    assert first == second
    assert sum(path.endswith("scannet.zip") for path in hub_server) == 1


def test_a_file_may_name_the_dataset(hub_server: list[str], tmp_path: Path) -> None:
    (tmp_path / "vsi_bench").write_text("some/VSI-Bench@main\n")
    assert (fetched(tmp_path / "vsi_bench") / "test.jsonl").is_file()


def test_a_second_dataset_may_hold_the_media(hub_server: list[str], tmp_path: Path) -> None:
    (tmp_path / "vsi_bench").write_text("some/VSI-Bench\nsome/Videos\n")
    _, sample = vsi_bench.read(fetched(tmp_path / "vsi_bench"))
    assert isinstance(sample, Sample)
    assert Path(sample.media_path).read_bytes() == b"another clip"


def test_the_papers_records_and_a_benchmarks_videos_may_be_two_datasets(hub_server: list[str], tmp_path: Path) -> None:
    (tmp_path / "vsi_bench").write_text("some/Eval\nsome/VSI-Bench\n")
    (sample,) = vsi_bench.read(fetched(tmp_path / "vsi_bench"))
    assert isinstance(sample, Sample)
    assert (sample.sample_id, Path(sample.media_path).read_bytes()) == ("vsi_bench-0", b"clip")


def test_a_folder_is_itself_and_anything_else_is_one_clear_line(hub_server: list[str], tmp_path: Path) -> None:
    assert download.dataset_names(tmp_path) == []
    with pytest.raises(UserError, match="neither a folder nor the name of a dataset"):
        fetched(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(UserError, match="'some/Other' is no folder here, and the hub gives no such dataset"):
        fetched(Path("some/Other"))


def test_how_much_is_fetched_is_said_before(hub_server: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fetched(Path("some/Loose"))
        assert "some/Loose: fetching 9 files, 0.0 MB" in caplog.messages
        caplog.clear()
        fetched(Path("some/Loose"))
    assert not [message for message in caplog.messages if "fetching" in message]


def test_of_a_sample_only_the_media_that_it_needs_are_fetched(
    hub_server: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def prepare(seed: int) -> set[str]:
        hub_server.clear()
        out = tmp_path / f"out{seed}"
        with pytest.raises(UserError, match="questions of vsi_bench"):  # the clips of this hub are no videos
            benchmark.run(PARAMS, "vsi_bench", Path("some/Loose"), out, tmp_path / "m.json", limit=2, seed=seed)
        return {path.rpartition("/")[2] for path in hub_server if "/resolve/" in path and path.endswith(".mp4")}

    with caplog.at_level(logging.INFO):
        first = prepare(0)
    assert len(first) == 2
    assert "some/Loose: fetching 2 files, 0.0 MB" in caplog.messages
    others = [prepare(seed) for seed in (1, 2, 3)]
    assert any(others)
    assert prepare(0) == set()  # they are here


def test_media_in_an_archive_are_fetched_whole_and_it_is_said(
    hub_server: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match="questions of vsi_bench"):
        benchmark.run(PARAMS, "vsi_bench", Path("some/VSI-Bench"), tmp_path, tmp_path / "m.json", limit=1)
    assert (
        "vsi_bench: its media lie in archives or on object storage, so --limit fetches all of them" in caplog.messages
    )


def test_a_dataset_that_names_a_file_outside_itself_is_refused(hub_server: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"some/Evil: its file '../../evil.mp4' lies outside the dataset"):
        benchmark.run(PARAMS, "vsi_bench", Path("some/Evil"), tmp_path, tmp_path / "m.json", limit=1)
    assert not list(tmp_path.rglob("evil.mp4"))


def test_an_object_of_the_hub_is_copied_and_a_missing_one_has_its_reason(
    hub_server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBJECT_CACHE", str(tmp_path / "objects"))
    with local_file(Address.parse(f"hf://datasets/some/Videos@{COMMIT}/scannet/s2.mp4")) as local:
        assert (local.path.read_bytes(), local.path.suffix) == (b"another clip", ".mp4")
    with (
        pytest.raises(ObjectError, match="missing"),
        local_file(Address.parse(f"hf://datasets/some/Other@{COMMIT}/a.mp4")),
    ):
        pass


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Three datasets on loopback; the list holds the paths of GET requests."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("scannet/s1.mp4", b"clip")
    rows = "\n".join(json.dumps(ROW | {"id": number, "scene_name": f"s{number}"}) for number in (1, 2)).encode()
    record = {
        "problem_id": 0,
        "problem": "How many?",
        "data_type": "video",
        "problem_type": "regression",
        "solution": "<answer>4</answer>",
    }
    record |= {
        "options": None,
        "path": "./Evaluation/VSIBench/scannet/s1.mp4",
        "original_question_type": "object_counting",
    }
    datasets = {
        "some/Eval": {"eval_vsibench.json": json.dumps([record]).encode()},
        "some/VSI-Bench": {"test.jsonl": rows, "scannet.zip": packed.getvalue(), "loader.py": b"raise SystemExit"},
        "some/Videos": {"scannet/s2.mp4": b"another clip"},
        "some/Evil": {"test.jsonl": rows, "../../evil.mp4": b"clip"},
        "some/Loose": {
            "test.jsonl": "\n".join(
                json.dumps(ROW | {"id": number, "scene_name": f"s{number}"}) for number in range(8)
            ).encode(),
            **{f"scannet/s{number}.mp4": b"clip %d" % number for number in range(8)},
        },
    }
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.command == "GET":
                asked.append(self.path)
            owner, dataset, *rest = self.path.removeprefix("/api").removeprefix("/datasets/").split("/")
            files, name = datasets.get(f"{owner}/{dataset}", {}), "/".join(rest).removeprefix(f"resolve/{COMMIT}/")
            if files and self.path.startswith("/api"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()
                ]
                info = {"id": f"{owner}/{dataset}", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                self._send(json.dumps(tree if "/tree/" in self.path else info).encode(), "application/json")
            elif name in files:
                self._send(files[name], "application/octet-stream")
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _send(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.chdir(tmp_path)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    yield asked
    server.shutdown()
    server.server_close()
