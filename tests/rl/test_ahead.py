import threading
from pathlib import Path

import pytest
import torch

from stages.data.sample import Sample
from stages.model.inputs import PromptBuilder
from stages.rl import ahead as ahead_module
from stages.rl.ahead import QuestionsAhead
from stages.rl.questions import Contrast, RolloutQuestion, ask, question_plan
from stages.video.frame_store import FrameReader
from tests.model.tiny_models import clip, question
from tests.rl.conftest import write_frames
from tests.rl.runs import SMALL, train, write_inputs


def test_prepared_questions_are_those_that_are_asked_at_once(qwen2_5: Path, tmp_path: Path) -> None:
    names = ["clip-0", "clip-1", "clip-2"]
    reader = write_frames(tmp_path, {name: clip(seed=n) for n, name in enumerate(names)})
    samples, builder = [question(name) for name in names], PromptBuilder(qwen2_5)
    questions = QuestionsAhead(samples, reader, builder, "shuffle", seed=3)
    questions.prepare([2, 0], step=5)
    for taken, row in zip(questions.take([2, 0, 2, 1], step=5), [2, 0, 2, 1], strict=True):
        expected = ask(samples[row], reader, builder, "shuffle", 3, 5)
        for prompt, other in ((taken.ordered, expected.ordered), (taken.contrast, expected.contrast)):
            assert prompt is not None
            assert other is not None
            assert torch.equal(prompt.patches_NK, other.patches_NK)
            assert torch.equal(prompt.ids_P, other.ids_P)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"questions_per_forward": 1}, {"updates_per_rollout": 2}], ids=str)
def test_a_run_asks_each_question_once_and_in_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, int]
) -> None:
    asked: list[tuple[str, int]] = []

    def count(
        sample: Sample, reader: FrameReader, builder: PromptBuilder, contrast: Contrast, seed: int, step: int
    ) -> RolloutQuestion:
        assert threading.current_thread() is not threading.main_thread()
        asked.append((sample.sample_id, step))
        return ask(sample, reader, builder, contrast, seed, step)

    monkeypatch.setattr(ahead_module, "ask", count)
    monkeypatch.chdir(tmp_path)
    train(SMALL.model_copy(update=change), write_inputs(tmp_path), tmp_path)
    updates = change.get("updates_per_rollout", 1)
    plan = question_plan(4, SMALL.max_steps, SMALL.questions_per_step, updates, SMALL.seed)
    samples = ["clip-0", "clip-1", "clip-2", "image"]
    assert sorted(asked) == sorted(
        (samples[row], step) for step in range(0, 4, updates) for row in plan[step * 2 : step * 2 + 2]
    )
