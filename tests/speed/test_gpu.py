import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_script_for_a_gpu_prints_its_table_at_toy_size() -> None:
    parts = ["agreement", "sft", "decode", "tgrpo", "vision"]
    command = [sys.executable, "-m", "speed.gpu", "--sizes", "toy", "--parts", *parts]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    rows = json.loads(ran.stderr.splitlines()[-1])["toy"]
    measured = {name: row["measured"] for name, row in rows.items()}
    assert 0 <= measured["|Δ log p|, scored in bf16"] < 0.1
    assert 0 <= measured["|Δ log p|, scored in fp32"] < 0.1
    for name in ("SFT, adapters", "decoding, 12 rows", "decoding, 96 rows", "prefill, 16 prompts"):
        assert measured[name] > 0
    step = rows["T-GRPO step, adapters"]
    phases = sum(measured[f"  of it: {phase}"] for phase in ("questions", "rollout", "reference", "update"))
    assert step["measured"] == pytest.approx(phases)
    assert min(step["limit"], step["planned"], step["released"], step["planned_gib"]) > 0
    assert {"T-GRPO step, vision frozen", "T-GRPO step, vision trained"} <= set(rows)
