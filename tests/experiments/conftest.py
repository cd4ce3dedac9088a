"""A small checkout whose pipeline has run."""

import json
from pathlib import Path

import pytest

from stages.data.sample import write_rejects, write_samples
from tests.model.tiny_models import clip, question, write_qwen2_5
from tests.rl.conftest import write_frames
from tests.rl.runs import write_training_set


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout's folders after filter, sft and benchmark.

    They hold four clips of noise, which are also the benchmark, and a random model.
    """
    kinds = ("direction", "colour")
    changes = [{"category": kind, "source": "shapes"} for kind in kinds for _ in range(2)]
    samples = [question(f"clip-{n}", answer="AB"[n % 2]).model_copy(update=changes[n]) for n in range(4)]
    frames = {sample.sample_id: clip(seed=n) for n, sample in enumerate(samples)}
    benchmark = tmp_path / "data" / "benchmarks" / "shapes-4"
    for folder in (tmp_path / "data", benchmark):
        folder.mkdir(parents=True)
        write_frames(folder, frames)
    write_training_set(tmp_path / "data" / "rl.parquet", samples)
    write_samples(benchmark / "samples.parquet", samples)
    write_rejects(benchmark / "quarantine.parquet", [])
    write_qwen2_5(tmp_path / "models" / "sft")
    tgrpo = {
        "max_steps": 2,
        "questions_per_step": 2,
        "questions_per_forward": 2,
        "group_size": 2,
        "contrast_size": 2,
        "max_new_tokens": 4,
    }
    sections = {
        "tgrpo": tgrpo | {"precision": "fp32", "freeze_vision": True},
        "evaluate": {"defaults": {"max_new_tokens": 4, "orders": ["ordered", "shuffled", "blind"]}, "shapes": {}},
        "report": {"frames": [4]},
    }
    (tmp_path / "params.yaml").write_text(json.dumps(sections))
    return tmp_path
