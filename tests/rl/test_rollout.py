import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from stages.generation.generate import Completion
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.model.vision import FeatureCache, encoded_media, pixel_media
from stages.rl.grading import grade_group, grades_of
from stages.rl.likelihood import Gains
from stages.rl.metrics import rollout_metrics, rollout_rows
from stages.rl.questions import Contrast, ask
from stages.rl.rewards import RewardParams, group_rewards
from stages.rl.rollout import Group, roll_out
from stages.rl.scoring import pack, score, use_group_prefix_attention
from stages.rl.temporal import MODES, TemporalMode
from stages.video.frame_store import FrameReader
from tests.model.tiny_models import clip, picture, question
from tests.rl.conftest import write_frames

MEDIA = {"clip-1": clip(seed=1), "clip-2": clip(frames=6, seed=2), "picture": picture()}
SAMPLES = [
    question("clip-1"),
    question("picture", data_type="image"),
    question("clip-2", problem="Which way does it move, and why?"),
]
SAMPLING = Sampling(max_new_tokens=9)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FrameReader:
    return write_frames(tmp_path_factory.mktemp("frames"), MEDIA)


def rolled_out(
    model: PreTrainedModel, builder: PromptBuilder, reader: FrameReader, frozen: bool, step: int = 0
) -> list[Group]:
    questions = [ask(sample, reader, builder, "shuffle", seed=3, step=step) for sample in SAMPLES]
    kept = FeatureCache(1.0) if frozen else None
    return roll_out(model, builder, questions, 4, 2, SAMPLING, seed=3, step=step, kept=kept)


@pytest.mark.parametrize("frozen", [True, False], ids=["features", "pixels"])
def test_scoring_gives_the_log_probabilities_the_rollout_had(
    model_dir: Path, reader: FrameReader, frozen: bool
) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    use_group_prefix_attention(model)
    groups = rolled_out(model, builder, reader, frozen)
    prompts = [group.question.ordered for group in groups]
    packed = pack(prompts, [[response.ids_C for response in group.ordered] for group in groups])
    features = [group.features for group in groups if group.features is not None]
    media = encoded_media(features) if features else pixel_media(builder, prompts, model.device)
    with torch.no_grad():
        logps_N = score(model, packed, media, temperature=1.0).logps_RC[packed.mask_RC]
    sampled_N = torch.cat([response.logps_C for group in groups for response in group.ordered])
    assert sampled_N.std() > 0.1
    assert torch.allclose(logps_N, sampled_N, atol=1e-4)


def test_shared_features_change_no_response(model_dir: Path, reader: FrameReader) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    shared, own = rolled_out(model, builder, reader, True), rolled_out(model, builder, reader, False)
    texts = [
        [[response.text for response in group.ordered + group.contrast] for group in groups] for groups in (shared, own)
    ]
    assert texts[0] == texts[1]


def test_fewer_rows_at_once_give_the_same_responses(model_dir: Path, reader: FrameReader) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    questions = [ask(sample, reader, builder, "shuffle", seed=3, step=0) for sample in SAMPLES]
    for kept in (FeatureCache(1.0), None):
        found = [
            roll_out(model, builder, questions, 4, 2, SAMPLING, 3, 0, kept, most_rows) for most_rows in (None, 6, 4)
        ]
        ids = [
            [[response.ids_C.tolist() for response in group.ordered + group.contrast] for group in groups]
            for groups in found
        ]
        assert ids[0] == ids[1] == ids[2]


def test_a_video_has_a_contrast_group_on_other_frames_and_an_image_has_none(
    model_dir: Path, reader: FrameReader
) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    video, image, _ = rolled_out(model, builder, reader, True)
    assert video.question.contrast is not None
    assert not torch.equal(video.question.contrast.patches_NK, video.question.ordered.patches_NK)
    assert torch.equal(video.question.contrast.ids_P, video.question.ordered.ids_P)
    assert (len(video.ordered), len(video.contrast)) == (4, 2)
    assert image.question.contrast is None
    assert (len(image.ordered), len(image.contrast)) == (4, 0)


def test_every_step_draws_another_order_and_other_responses(model_dir: Path, reader: FrameReader) -> None:
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    first, again, later = (rolled_out(model, builder, reader, True, step)[2] for step in (0, 0, 1))
    assert [response.text for response in first.ordered] == [response.text for response in again.ordered]
    assert [response.text for response in first.ordered] != [response.text for response in later.ordered]
    contrasts = [ask(SAMPLES[2], reader, builder, "shuffle", seed=3, step=step).contrast for step in range(6)]
    assert len({tuple(prompt.patches_NK.float().sum(1).tolist()) for prompt in contrasts if prompt is not None}) > 3


@pytest.mark.parametrize("contrast", ["shuffle", "reverse", "single-frame"])
def test_a_video_that_the_order_does_not_change_has_no_contrast_group(
    model_dir: Path, tmp_path: Path, contrast: Contrast
) -> None:
    moving = clip(frames=2)
    still = replace(moving, frames_THWC=np.repeat(moving.frames_THWC[:1], 2, axis=0))
    reader = write_frames(tmp_path, {"moving": moving, "still": still, "one-frame": clip(frames=1)})
    asked = [
        ask(question(name), reader, PromptBuilder(model_dir), contrast, 0, 0)
        for name in ("moving", "still", "one-frame")
    ]
    assert [each.contrast is None for each in asked] == [False, True, True]


def answered(*texts: str, truncated: bool = False) -> list[Completion]:
    return [Completion(torch.arange(10), torch.zeros(10), text, truncated) for text in texts]


RIGHT, WRONG, BROKEN = "<think>a</think>\n<answer>B</answer>", "<think>a</think>\n<answer>A</answer>", "it is B"
PARAMS = RewardParams(length_min=10, length_max=20)


@pytest.fixture
def groups(model_dir: Path, reader: FrameReader) -> list[Group]:
    builder = PromptBuilder(model_dir)
    video, image = (ask(sample, reader, builder, "shuffle", 0, 0) for sample in SAMPLES[:2])
    return [
        Group(video, answered(RIGHT, RIGHT, WRONG, BROKEN), answered(RIGHT, WRONG), None),
        Group(image, answered(RIGHT, RIGHT, RIGHT, RIGHT, truncated=True), [], None),
    ]


def test_grades_and_figures_of_known_responses(groups: list[Group]) -> None:
    grades = grades_of([grade_group(group, "default") for group in groups], 2)
    assert grades.accuracy_BG.tolist() == [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    assert grades.format_BG.tolist() == [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    assert grades.contrast_BK.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert grades.has_contrast_B.tolist() == [True, False]
    rewards = group_rewards(grades, PARAMS)
    # Video: 2.5 2.5 1 0 with r_t and length bonus; image: 2.2 four times
    assert rollout_metrics(grades, rewards, PARAMS) == pytest.approx(
        {
            "reward": (2.5 + 2.5 + 1 + 4 * 2.2) / 8,
            "accuracy": 6 / 8,
            "format": 7 / 8,
            "temporal": 0.6 / 8,
            "length": 6 * 0.2 / 8,
            "condition_rate": 1.0,
            "p": 0.5,
            "p_contrast": 0.5,
            "zero_variance": 0.5,
            "truncated": 0.5,
            "completion_tokens": 10.0,
            "likelihood_gain": math.nan,
            "answer_gain": math.nan,
            "thought_gain": math.nan,
            "looks": 0.0,
            "frames_named": 0.0,
        },
        nan_ok=True,
    )


def test_kept_rows_hold_every_part_of_the_reward(groups: list[Group]) -> None:
    graded = grade_group(groups[0], "default")
    rewards = group_rewards(grades_of([graded], 2), PARAMS)
    rows = rollout_rows(7, graded, rewards, torch.tensor([[0.5, 0.5, -0.25, -0.75]]), "shuffle", PARAMS.mode)
    assert [row["order"] for row in rows] == ["ordered"] * 4 + ["shuffle"] * 2
    assert rows[0] == {
        "sample_id": "clip-1",
        "step": 7,
        "order": "ordered",
        "text": RIGHT,
        "answer": "B",
        "accuracy": 1.0,
        "format": 1.0,
        "temporal": pytest.approx(0.3),
        "length": pytest.approx(0.2),
        "advantage": 0.5,
        "gain": None,
    }
    assert rows[3]["answer"] is None
    assert (rows[5]["accuracy"], rows[5]["advantage"]) == (0.0, None)


@pytest.mark.parametrize(("mode", "shown"), [("thought", [0.5, 0.0, -0.25, 1.0]), ("likelihood", [2.0, 3.0, 4.0, 5.0])])
def test_kept_rows_show_the_gain_of_their_mode_where_both_were_measured(
    groups: list[Group], mode: TemporalMode, shown: list[float]
) -> None:
    gains = [Gains(torch.tensor([value]), None) for value in (2.0, 3.0, 4.0, 5.0)]
    graded = grade_group(groups[0], "default", gains, [0.5, 0.0, -0.25, 1.0])
    rewards = group_rewards(grades_of([graded], 2), PARAMS)
    rows = rollout_rows(7, graded, rewards, torch.zeros(1, 4), "shuffle", MODES[mode])
    assert [row["gain"] for row in rows] == [*shown, None, None]
