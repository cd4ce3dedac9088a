import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PARTS = ["agreement", "tgrpo", "decode", "vision", "sft", "full"]


def measure(out: Path, *parts: str) -> dict[str, dict[str, Any]]:
    """The rows of a trial on the CPU, by part and name."""
    command = [sys.executable, "-m", "speed.gpu", "--sizes", "toy", "--out", str(out), "--parts", *parts]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stderr.splitlines()[-1])["toy"]


@pytest.mark.slow
def test_the_script_for_a_gpu_prints_its_table_at_toy_size(tmp_path: Path) -> None:
    first = measure(tmp_path / "rows.json", *PARTS[:2])
    found = measure(tmp_path / "rows.json", *PARTS)
    assert list(found) == PARTS
    assert {part: found[part] for part in PARTS[:2]} == first  # not measured again
    measured = {name: row["measured"] for part in found.values() for name, row in part.items()}
    assert 0 <= measured["|Δ log p|, scored in bf16"] < 0.1
    assert 0 <= measured["|Δ log p|, scored in fp32"] < 0.1
    for name in ("SFT, adapters", "SFT, adapters, features kept", "decoding, 12 rows", "decoding, 96 rows"):
        assert measured[name] > 0
    assert measured["prefill, 16 prompts"] > 0
    step = found["tgrpo"]["T-GRPO step, adapters"]
    phases = {name: seconds for name, seconds in measured.items() if name.startswith("  of it: ")}
    assert {f"  of it: {phase}" for phase in ("questions", "rollout", "reference", "update")} <= set(phases)
    assert step["measured"] == pytest.approx(sum(phases.values()))
    assert min(step["limit"], step["planned"], step["released"], step["planned_gib"]) > 0
    ways = [f"adapters, vision {vision}" for vision in ("frozen", "full", "adapters")]
    for way in (*ways, "full, vision frozen", "full, vision full"):
        assert measured[f"T-GRPO step, {way}"] > 0
