import os
import time
from pathlib import Path

import pytest
import torch

from stages.rl.gpu_idle import GpuIdle


def test_the_idle_share_is_the_mean_of_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '100\\n[N/A]\\n50\\n'\nexec sleep 60\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    idle = GpuIdle()
    idle.watch("GPU-0")
    deadline = time.monotonic() + 30
    while len(idle._busy) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert idle.take() == pytest.approx(0.25)
    assert idle.take() is None
    idle.stop()


def test_without_a_gpu_nothing_is_measured() -> None:
    idle = GpuIdle()
    idle.start(torch.device("cpu"))
    assert idle.take() is None
    idle.stop()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_waits_is_idle() -> None:
    idle = GpuIdle()
    idle.start(torch.device("cuda", 0))
    time.sleep(3)
    share = idle.take()
    idle.stop()
    assert share is not None
    assert share > 0.5
