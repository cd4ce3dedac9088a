"""T-GRPO whose responses a real vLLM draws, with the adapter of each step.

Set VLLM_BIN and VIDEO_R1_RUN as docs/ci.md says.
"""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.model.adapters import Lora
from stages.rl.server_pool import RolloutServers
from stages.run.errors import UserError
from stages.run.params import load_params
from stages.tgrpo import TgrpoParams, run
from tests.conftest import ROOT, finished_run
from tests.rl.runs import rows
from tests.test_vllm import pytestmark as marks
from tests.vllm_server import MEDIA_FLAG, served

pytestmark = marks

PARAMS = load_params(TgrpoParams, "tgrpo", ROOT / "params.yaml").model_copy(
    update={"max_steps": 3, "save_steps": 3, "top_p": 1e-6, "lora": Lora(rank=8, alpha=8)}
)


def train(params: TgrpoParams, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the embedded SFT model in a new folder, on the questions of the finished run."""
    done = finished_run().absolute()
    folder.mkdir()
    monkeypatch.chdir(folder)
    inputs = (done / "data" / "frames", done / "models" / "sft")
    files = [folder / name for name in ("model", "metrics.json", "headline.json", "plot.csv", "rollouts.parquet")]
    run(params, *inputs, *files, samples=done / "data" / "rl.parquet")


def test_a_real_server_draws_what_this_process_draws_greedily_and_refuses_a_larger_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A top_p near 0 keeps the likeliest token alone, so that nothing is left to chance."""
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    sft, flags = finished_run() / "models" / "sft", ("--enable-lora", "--max-lora-rank", "8", MEDIA_FLAG)
    with served(sft, tmp_path / "vllm.log", *flags) as url:
        servers = RolloutServers(servers=(url,))
        train(PARAMS.model_copy(update={"rollout": servers}), tmp_path / "there", monkeypatch)
        larger = PARAMS.model_copy(update={"rollout": servers, "lora": Lora(rank=16)})
        with pytest.raises(UserError, match=r"HTTP 500: .*; start it with --enable-lora --max-lora-rank 16"):
            train(larger, tmp_path / "larger", monkeypatch)
    train(PARAMS, tmp_path / "here", monkeypatch)
    for there, here in zip(rows(tmp_path / "there"), rows(tmp_path / "here"), strict=True):
        for name in ("reward", "accuracy", "p", "p_contrast", "completion_tokens", "loss", "kl", "grad_norm"):
            assert float(there[name]) == pytest.approx(float(here[name]), rel=1e-3, abs=2e-6), name
        assert float(there["sampling_logp_difference"]) < 1e-5
        assert math.isfinite(float(there["sampling_kl"]))
    texts = [
        pq.read_table(tmp_path / name / "rollouts.parquet").column("text").to_pylist() for name in ("there", "here")
    ]
    assert texts[0] == texts[1]
