"""T-GRPO and evaluation leave out and name prompts that are too long."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.asking.collect import collect
from stages.asking.engines import Showing, TransformersEngine
from stages.data.sample import read_samples
from stages.generation.sampling import Sampling
from stages.run.files import read_json
from tests.model.tiny_models import clip, question
from tests.rl.conftest import write_frames
from tests.rl.runs import SMALL, train, write_inputs, write_training_set


@pytest.mark.slow
def test_tgrpo_leaves_out_questions_over_the_limit_and_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    inputs = write_inputs(tmp_path)
    samples = read_samples(inputs / "rl.parquet")
    samples[1] = samples[1].model_copy(update={"problem": "word " * 200})
    write_training_set(inputs / "rl.parquet", samples)
    train(SMALL.model_copy(update={"max_steps": 2, "max_prompt_tokens": 200}), inputs, tmp_path)
    assert read_json(tmp_path / "metrics.json")["left_out"] == {"prompt too long": 1}
    assert "1 samples left out, prompt too long: clip-1: the prompt has" in caplog.text
    asked = {row["sample_id"] for row in pq.read_table(tmp_path / "rollouts.parquet").to_pylist()}
    assert "clip-1" not in asked


def test_an_evaluation_names_a_prompt_over_the_limit_and_answers_the_others(
    qwen2_5: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [question("clip-1"), question("clip-2", problem="word " * 200), question("clip-3")]
    reader = write_frames(tmp_path, {sample.sample_id: clip() for sample in samples})
    engine = TransformersEngine(
        qwen2_5, reader, Sampling(4), seed=0, batch_tokens=4000, precision="fp32", max_prompt_tokens=200
    )
    showings = [Showing(sample, "ordered") for sample in samples]
    outputs = collect(engine, showings, tmp_path / "work", max_failed=0.5, stage="evaluate").values()
    found = {output["sample_id"]: output for output in outputs}
    assert found.keys() == {"clip-1", "clip-2", "clip-3"}
    assert [found[name]["status"] == "error" for name in sorted(found)] == [False, True, False]
    assert found["clip-2"]["detail"].startswith("ordered/clip-2: the prompt has ")
    assert "more than 200" in caplog.text
    assert "1 prompts are too long, for example: ordered/clip-2: the prompt has" in caplog.messages[-1]
    assert "again to ask" not in caplog.text
