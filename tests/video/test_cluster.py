"""The same workers on a Dask cluster of separate processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.data.sample import read_rejects, write_samples
from stages.run.errors import UserError
from stages.video.workers import Limits, Sandbox
from tests.conftest import ROOT
from tests.video.clips import H264, damage, encode
from tests.video.samples import PARAMS, sample
from tests.video.test_workers import outcomes, work


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two worker processes, with the scheduler's address in the environment.

    A daemon may not start sandboxes, so the workers are no daemons.
    """
    from dask import config
    from distributed import LocalCluster

    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with config.set({"distributed.worker.daemon": False, "distributed.nanny.pre-spawn-environ.PYTHONPATH": path}):
        started = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", started.scheduler_address)
        with started:
            yield


@pytest.mark.integration
@pytest.mark.timeout(180)
def test_a_cluster_writes_the_same_bytes_and_a_crash_costs_one_task(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcomes(["a", "crash", "b", "refuse"], Limits(0, 20, 400)) == ["a", "crashed", "b", "corrupt"]

    clip = encode(tmp_path / "clip.mp4", frames=30, **H264)
    (tmp_path / "damaged.mp4").write_bytes(damage(clip.read_bytes(), 30))
    monkeypatch.chdir(tmp_path)  # relative paths mean the same on the workers
    write_samples(Path("samples.parquet"), [sample("clip", Path("clip.mp4")), sample("damaged", Path("damaged.mp4"))])
    Path("params.yaml").write_text(f"frames: {json.dumps(PARAMS)}\n")
    names = ("frame-store", "frame-keys.parquet", "clips.parquet", "rejects.parquet", "metrics.json")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for place in ("there", "here"):
        flags = [text for name in names for text in (f"--{name.split('.')[0]}", f"{place}/{name}")]
        subprocess.run([sys.executable, "-m", "stages.frames", "--samples", "samples.parquet", *flags], check=True)
        monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    assert [(reject.sample_id, reject.reason) for reject in read_rejects(Path("there/rejects.parquet"))] == [
        ("damaged", "corrupt")
    ]
    for name in ("frame-store/00000.parquet", *names[1:]):
        assert Path("there", name).read_bytes() == Path("here", name).read_bytes()


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from dask import config

    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    with (
        config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UserError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"),
        Sandbox(Limits(1, 5, 400)) as sandbox,
    ):
        list(sandbox.map(work, [Path("a")], Path))
