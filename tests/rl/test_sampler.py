from pathlib import Path

import pytest
from accelerate import Accelerator

from stages.data.grading import Strictness
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.rl import sampler as sampler_module
from stages.rl.grading import GradedGroup, grade_group
from stages.rl.likelihood import Gains
from stages.rl.params import StepParams
from stages.rl.rollout import Group
from stages.rl.sampler import Sampler
from stages.rl.sharing import shared_step
from stages.rl.stopwatch import Stopwatch
from tests.model.tiny_models import clip, question
from tests.rl.conftest import write_frames


def test_resampling_grades_each_group_once(qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graded: list[Group] = []

    def count(
        group: Group, strictness: Strictness, gains: list[Gains], thoughts: list[float], compare_answers: bool
    ) -> GradedGroup:
        graded.append(group)
        return grade_group(group, strictness, gains, thoughts, compare_answers)

    monkeypatch.setattr(sampler_module, "grade_group", count)
    names = [f"clip-{n}" for n in range(9)]
    reader = write_frames(tmp_path, {name: clip(seed=n) for n, name in enumerate(names)})
    params = StepParams(
        group_size=2, contrast_size=0, temporal="off", dynamic_sampling="resample", resample_rounds=2, max_new_tokens=3
    )
    sampler = Sampler(params, [question(name) for name in names], reader, PromptBuilder(qwen2_5), Stopwatch(), None)
    shared = shared_step([0, 1], batch_size=2, processes=1, costs=[1, 1])
    sampled = sampler.sample(Accelerator(cpu=True), load_model(qwen2_5), shared, step=0, next_rows=[2, 3])
    assert sampled.resampled == 4  # a random model answers nothing right: both groups are idle in both rounds
    assert len(graded) == 2 + 4
    assert [group.group for group in sampled.groups] == graded[-2:]
    assert len({group.question.sample.sample_id for group in graded}) == 6
