"""The same work on a Dask cluster of separate processes, which `dask scheduler` and `dask worker` started."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client
from PIL import Image

from stages.data.sample import Sample, read_rejects, write_samples
from stages.run.errors import UserError
from stages.video import cluster as dask_cluster
from stages.video.workers import Limits, Sandbox
from tests.conftest import ROOT
from tests.video.clips import H264, damage, encode
from tests.video.samples import PARAMS, sample
from tests.video.test_workers import outcomes, work

OUTPUTS = ("frame-store", "frame-keys.parquet", "clips.parquet", "rejects.parquet", "metrics.json")


class Cluster:
    """A scheduler and its workers, each a process of its own."""

    def __init__(self, processes: ExitStack, folder: Path) -> None:
        self._processes, self._file = processes, folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0")
        while not self._file.exists():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.address = json.loads(self._file.read_text())["address"]

    def wait_for_worker(self) -> None:
        """Return when the scheduler knows a worker."""
        with Client(self.address) as client:
            client.wait_for_workers(1, timeout=60)

    def add_worker(self, *flags: str, path: Sequence[Path] = (ROOT,), **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker; `path` is its PYTHONPATH."""
        environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
        return self._start("worker", "--nthreads", "1", *flags, **environment)

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(self._file), "--no-dashboard"]
        process = subprocess.Popen(
            command,
            cwd=self._file.parent,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stderr=subprocess.DEVNULL,
        )
        self._processes.callback(process.wait)
        self._processes.callback(process.kill)
        return process


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A scheduler without workers, whose address is in the environment."""
    with ExitStack() as processes:
        started = Cluster(processes, tmp_path)
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", started.address)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.chdir(tmp_path)
        yield started


def frames(place: str, there: bool = True) -> subprocess.Popen[str]:
    """Start the frames stage on samples.parquet, on the cluster or here."""
    Path("params.yaml").write_text(f"frames: {json.dumps(PARAMS)}\n")
    flags = [text for name in OUTPUTS for text in (f"--{name.split('.')[0]}", f"{place}/{name}")]
    environment = {name: value for name, value in os.environ.items() if there or name != "DASK_SCHEDULER_ADDRESS"}
    command = [sys.executable, "-m", "stages.frames", "--samples", "samples.parquet", *flags]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    _, text = process.communicate(timeout=300)
    assert process.returncode == code, text
    return text


def written(place: str) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(Path(place).rglob("*.*"))}


def pictures(count: int) -> list[Sample]:
    """Samples about different pictures: so many that some are not begun when the first shard is written."""
    Path("media").mkdir()
    for number in range(count):
        Image.new("RGB", (32, 32), (number % 256, number // 256, 0)).save(f"media/{number}.png")
    return [sample(f"s{number}", Path(f"media/{number}.png"), "image") for number in range(count)]


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_cluster_writes_the_same_bytes_and_a_crash_costs_one_task(cluster: Cluster) -> None:
    cluster.add_worker("--no-nanny")
    cluster.add_worker(DASK_DISTRIBUTED__WORKER__DAEMON="False")
    assert outcomes(["a", "crash", "b", "refuse"], Limits(0, 20, 400)) == ["a", "crashed", "b", "corrupt"]
    clip = encode(Path("clip.mp4"), frames=30, **H264)
    Path("damaged.mp4").write_bytes(damage(clip.read_bytes(), 30))
    write_samples(Path("samples.parquet"), [sample("clip", clip), sample("damaged", Path("damaged.mp4"))])
    said(frames("there"))
    said(frames("here", there=False))
    assert [(reject.sample_id, reject.reason) for reject in read_rejects(Path("there/rejects.parquet"))] == [
        ("damaged", "corrupt")
    ]
    assert written("there") == written("here")


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_worker_killed_in_the_middle_costs_nothing(cluster: Cluster) -> None:
    workers = [cluster.add_worker("--no-nanny") for _ in range(2)]
    write_samples(Path("samples.parquet"), pictures(1500))
    running = frames("there")
    while not Path("there/frame-store/00000.parquet").exists():
        assert running.poll() is None
        time.sleep(0.01)
    workers[0].kill()
    assert running.poll() is None
    said(running)
    said(frames("here", there=False))
    assert written("there") == written("here")


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_scheduler_lost_in_the_middle_is_one_line_and_the_next_run_goes_on(cluster: Cluster) -> None:
    cluster.add_worker("--no-nanny")
    write_samples(Path("samples.parquet"), pictures(1500))
    running = frames("there")
    while not Path("there/frame-store/00000.parquet").exists():
        assert running.poll() is None
        time.sleep(0.01)
    cluster.scheduler.kill()
    last = said(running, os.EX_TEMPFAIL).splitlines()[-1]
    assert re.fullmatch(
        r"frames: the Dask scheduler at tcp://\S+ is gone; start it and its workers, then run again", last
    )
    assert not re.search("1500 of 1500 clips are new", said(frames("there", there=False)))


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_worker_with_another_version_is_one_line_with_the_difference(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "stages", other / "stages")
    with open(other / "stages" / "video" / "hashes.py", "a", encoding="utf-8") as file:
        file.write("NEAR = 5\n")
    (other / "av-0.0.1.dist-info").mkdir()
    (other / "av-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: av\nVersion: 0.0.1\n")
    cluster.add_worker("--no-nanny", path=[other, ROOT])
    with pytest.raises(UserError) as error:
        outcomes(["a"], Limits(0, 20, 400))
    difference = (
        r"has another version of the code in stages/ \(\w+, not \w+\), av \(0\.0\.1, not [\d.]+\); give it the same"
    )
    assert re.search(difference, str(error.value))


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("flags", "path", "message"),
    [
        ([], [ROOT], "start the workers with DASK_DISTRIBUTED__WORKER__DAEMON=False"),
        (["--no-nanny"], [], r"has no workers any more; their logs say why\. Start them with PYTHONPATH="),
        (None, [], "has no workers; start some: dask worker tcp://"),
    ],
)
def test_a_cluster_that_was_started_wrongly_is_one_line(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, flags: list[str] | None, path: list[Path], message: str
) -> None:
    if flags is not None:
        cluster.add_worker(*flags, path=path)
        cluster.wait_for_worker()
    monkeypatch.setattr(dask_cluster, "WAIT_S", 2)
    with Sandbox(Limits(0, 20, 400)) as sandbox, pytest.raises(UserError, match=message):
        list(sandbox.map(_size_of, [Path("a")], Path))


def _size_of(path: Path) -> int:
    return len(path.name)


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from dask import config

    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    monkeypatch.setattr(dask_cluster, "WAIT_S", 2)
    with (
        config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UserError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"),
        Sandbox(Limits(1, 5, 400)) as sandbox,
    ):
        list(sandbox.map(work, [Path("a")], Path))
