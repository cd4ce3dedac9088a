"""T-GRPO in processes of its own: killed and resumed."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.model.adapters import Lora
from stages.tgrpo import TgrpoParams
from tests import warm
from tests.rl.runs import SMALL, rows, write_inputs
from tests.warm import Started


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_inputs` leaves."""
    return write_inputs(tmp_path_factory.mktemp("tgrpo"))


def start(params: TgrpoParams, inputs: Path, folder: Path, processes: int = 1, by_launcher: bool = False) -> Started:
    """The stage in `folder`, in so many warm processes, or in cold ones that `stages.launch` starts."""
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(json.dumps({"tgrpo": params.model_dump()}))
    flags = {"samples": inputs / "rl.parquet", "frame_store": inputs / "frames", "model": inputs / "sft"}
    files = {"out": "model", "metrics": "metrics.json", "headline": "headline.json", "plot": "plot.csv"}
    flags |= {name: folder / file for name, file in files.items()}
    flags["rollouts"] = folder / "rollouts.parquet"
    words = [part for name, path in flags.items() for part in (f"--{name.replace('_', '-')}", str(path))]
    if by_launcher:
        return warm.start("stages.launch", ["--processes", str(processes), "tgrpo", *words], folder)
    return warm.start("stages.tgrpo", words, folder, processes)


def kill_after_checkpoint(started: Started, folder: Path, step: int) -> None:
    """SIGKILL the processes as soon as the checkpoint of `step` is whole."""
    while not list(folder.glob(f".work/tgrpo/*/*/checkpoint-{step}/complete.json")):
        assert started.poll() is None, started.said[-4000:]
        time.sleep(0.01)
    started.kill()


@pytest.mark.integration
def test_a_run_killed_twice_ends_like_one_that_was_not(inputs: Path, tmp_path: Path) -> None:
    params = SMALL.model_copy(update={"max_steps": 10, "scale": "ema", "updates_per_rollout": 2})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for step in (2, 6):
        kill_after_checkpoint(start(params, inputs, killed), killed, step)
        assert not (killed / "model").exists()
    start(params, inputs, killed).finish()
    start(params, inputs, whole).finish()
    for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    assert len(rows(whole)) == 10


@pytest.mark.integration
@pytest.mark.parametrize(
    ("change", "by_launcher"),
    [
        ({"deepspeed": 2, "temporal": "tokens", "gate_visits": 2}, False),
        ({"deepspeed": 2, "lora": Lora(rank=2, alpha=4, vision="full"), "freeze_vision": False}, False),
        ({"deepspeed": 3}, True),
    ],
    ids=["ZeRO-2, gated", "ZeRO-2, adapters, vision trained", "ZeRO-3"],
)
def test_two_deepspeed_processes_that_are_killed_end_like_two_that_were_not(
    inputs: Path, tmp_path: Path, change: dict[str, object], by_launcher: bool
) -> None:
    params = SMALL.model_copy(update={"questions_per_step": 4, "questions_per_forward": 1} | change)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kill_after_checkpoint(start(params, inputs, killed, 2, by_launcher), killed, 2)
    start(params, inputs, killed, 2, by_launcher).finish()
    start(params, inputs, whole, 2).finish()
    for file in ("plot.csv", "metrics.json", "rollouts.parquet", "model/model.safetensors"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    before, after = (load_file(path / "model.safetensors") for path in (inputs / "sft", whole / "model"))
    assert before.keys() == after.keys()


@pytest.mark.integration
def test_adapters_go_on_with_another_number_of_processes(inputs: Path, tmp_path: Path) -> None:
    adapters = {"deepspeed": 2, "lora": Lora(rank=2, alpha=4, vision="full"), "freeze_vision": False}
    params = SMALL.model_copy(update={"questions_per_step": 4, "questions_per_forward": 1} | adapters)
    start(params, inputs, tmp_path / "run", 2).finish()
    expected, weights = rows(tmp_path / "run"), load_file(tmp_path / "run" / "model" / "model.safetensors")
    _, last = sorted(tmp_path.glob("run/.work/tgrpo/*/*/checkpoint-*"))
    shutil.rmtree(last)
    started = start(params, inputs, tmp_path / "run", 4)
    started.finish()
    assert "/checkpoint-2\n" in started.said
    for row, wanted in zip(rows(tmp_path / "run"), expected, strict=True):
        assert row["reward"] == wanted["reward"]
        assert float(row["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-4, abs=1e-8)
        assert float(row["grad_norm"]) == pytest.approx(float(wanted["grad_norm"]), rel=1e-4)
    torch.testing.assert_close(load_file(tmp_path / "run" / "model" / "model.safetensors"), weights, atol=1e-6, rtol=0)
