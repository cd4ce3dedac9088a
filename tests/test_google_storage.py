"""Media and benchmarks on Google Cloud Storage, against its emulator, through the stages' own command lines."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest

from stages.data.sample import read_rejects
from stages.run import objects
from tests.conftest import ROOT
from tests.test_object_sources import QUESTION, benchmark, source, stage
from tests.video.clips import H264, encode

emulator = pytest.importorskip(
    "gcp_storage_emulator.server", reason="needs the dev packages gcsfs, gcp-storage-emulator"
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


class GoogleStorage:
    """The emulator on loopback, with one bucket in memory."""

    def __init__(self) -> None:
        self._server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
        self._server.start()
        self.address = f"http://127.0.0.1:{self._server._api._httpd.server_port}"

    def put(self, key: str, data: bytes) -> None:
        asked = urlencode({"uploadType": "media", "name": key})
        urlopen(Request(f"{self.address}/upload/storage/v1/b/bucket/o?{asked}", data=data, method="POST")).close()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleStorage]:
    """A server with three clips below videos/, and a folder to work in that has them too."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    started = GoogleStorage()
    environment = {"STORAGE_EMULATOR_HOST": started.address, "PYTHONPATH": str(ROOT), "OBJECT_CACHE": "objects"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for number in range(3):
        clip = encode(Path(f"{number}.mp4"), frames=10 + number, **H264)
        started.put(f"videos/{clip}", clip.read_bytes())
    objects._filesystem.cache_clear()
    yield started
    started.stop()


def test_media_on_google_storage_give_the_frames_that_local_media_give(storage: GoogleStorage) -> None:
    named = source([{"path": f"{number}.mp4"} for number in (0, 1, 2, 9)], media="gs://bucket/videos")
    said = stage("ingest", source=named)
    assert [reject.reason for reject in read_rejects(Path("quarantine.parquet"))] == ["missing"]
    listed = pq.read_table("media/objects.parquet").to_pylist()
    assert [(row["address"], row["size"]) for row in listed] == [
        (f"gs://bucket/videos/{number}.mp4", Path(f"{number}.mp4").stat().st_size) for number in range(3)
    ]
    assert "credentials" not in said  # only this server was asked
    stage("frames", source=named)
    there = Path("store/00000.parquet").read_bytes()

    Path("store/00000.parquet").unlink()
    local = source([{"path": f"{number}.mp4"} for number in range(3)], media=str(Path.cwd()))
    stage("ingest", source=local)
    stage("frames", source=local)
    assert Path("store/00000.parquet").read_bytes() == there


def test_a_benchmark_on_google_storage_and_a_server_that_is_gone(storage: GoogleStorage) -> None:
    records = [QUESTION | {"problem_id": number, "path": f"{number}.mp4", "data_type": "video"} for number in range(2)]
    storage.put("videos/benchmark.json", json.dumps(records).encode())
    benchmark("gs://bucket/videos")
    assert Path("out/frames/00000.parquet").is_file()
    assert "gs://bucket/nothing: missing: no objects below" in benchmark("gs://bucket/nothing", 1)
    storage.stop()
    named = source([{"path": "0.mp4"}], media="gs://bucket/videos")
    said = stage("ingest", source=named, code=1)
    assert [(reject.reason, reject.detail) for reject in read_rejects(Path("quarantine.parquet"))] == [
        ("unreachable", "gs://bucket/videos/0.mp4: no answer (ClientConnectorError)")
    ]
    assert "Traceback" not in said
