from math import log
from pathlib import Path

import pytest
import torch

from stages.generation.generate import Completion
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.model.vision import FeatureCache
from stages.rl.likelihood import Gains, conclusion_token, likelihood_gains, thought_gains
from stages.rl.questions import ask
from stages.rl.rollout import Group, roll_out
from stages.rl.scoring import use_group_prefix_attention
from tests.model.tiny_models import clip, picture, question
from tests.rl.conftest import write_frames


def test_a_gain_is_the_mean_over_the_response_or_over_its_conclusion() -> None:
    gains = Gains(torch.tensor([log(2), -log(2), log(8)], dtype=torch.float64), conclusion=1)
    assert gains.likelihood == pytest.approx(log(2))  # (1 − 1 + 3) / 3 · log 2
    assert gains.answer == pytest.approx(log(2))  # (−1 + 3) / 2 · log 2
    assert Gains(gains.tokens_C, conclusion=2).answer == pytest.approx(log(8))
    assert Gains(gains.tokens_C, conclusion=None).answer == 0.0  # an open thought has no conclusion


@pytest.mark.parametrize("frozen", [True, False], ids=["features", "pixels"])
def test_the_gain_is_the_difference_of_two_plain_forwards(model_dir: Path, tmp_path: Path, frozen: bool) -> None:
    reader = write_frames(tmp_path, {"clip-1": clip(frames=6), "picture": picture(), "clip-2": clip(seed=2)})
    model, builder = load_model(model_dir), PromptBuilder(model_dir)
    use_group_prefix_attention(model)
    samples = [question("clip-1"), question("picture", data_type="image"), question("clip-2")]
    asked = [ask(sample, reader, builder, "reverse", 0, 0) for sample in samples]
    sampling = Sampling(max_new_tokens=9, temperature=0.7)
    groups = roll_out(model, builder, asked, 4, 2, sampling, 0, 0, FeatureCache(1.0) if frozen else None)
    gains = [likelihood_gains(model, builder, group, 0.7) for group in groups]
    assert gains[1] == []  # an image has no contrast frames
    for group, found in ((groups[0], gains[0]), (groups[2], gains[2])):
        for response, gain in zip(group.ordered, found, strict=True):
            logps = []
            for prompt in (group.question.ordered, group.question.contrast):
                assert prompt is not None
                inputs = builder.normalised(builder.batch([prompt], [response.ids_C]))
                labels_L = inputs.pop("labels")[0]
                with torch.no_grad():
                    logps_LV = (model(**inputs).logits[0, :-1] / 0.7).log_softmax(-1)
                logps.append(logps_LV.gather(1, labels_L[1:, None].clamp(min=0))[labels_L[1:] >= 0, 0])
            assert gain.tokens_C.tolist() == pytest.approx((logps[0] - logps[1]).tolist(), abs=1e-4)
            assert gain.tokens_C.abs().max() > 1e-3


def test_the_conclusions_first_token_is_the_one_that_reaches_into_it(qwen2_5: Path) -> None:
    builder = PromptBuilder(qwen2_5)
    text = "<think>frame 1 left, so it moves left.</think>\n<answer>A</answer>"
    ids_C = builder.completion_ids(text)
    token = conclusion_token(builder, ids_C, text)
    assert token is not None
    assert builder.decode(ids_C[:token]) == "<think>frame 1 left,"
    assert builder.decode(ids_C[token:]).startswith(" so")
    assert conclusion_token(builder, ids_C[:5], "<think>frame") is None


def test_the_gain_of_a_thought_is_that_of_its_conclusion_behind_other_notes(qwen2_5: Path, tmp_path: Path) -> None:
    reader = write_frames(tmp_path, {"clip": clip(frames=6)})
    model, builder = load_model(qwen2_5), PromptBuilder(qwen2_5)
    use_group_prefix_attention(model)
    asked = ask(question("clip"), reader, builder, "reverse", 0, 0)

    def _logps(text: str) -> torch.Tensor:
        """log π of each token of a text behind the ordered frames."""
        inputs = builder.normalised(builder.batch([asked.ordered], [builder.completion_ids(text)]))
        labels_L = inputs.pop("labels")[0]
        with torch.no_grad():
            logps_LV = (model(**inputs).logits[0, :-1] / 0.7).log_softmax(-1)
        return logps_LV.gather(1, labels_L[1:, None].clamp(min=0))[labels_L[1:] >= 0, 0]

    def _response(text: str) -> Completion:
        return Completion(builder.completion_ids(text), _logps(text), text, False)

    closed = "<think>frame {} left, so it moves {}.</think>\n<answer>A</answer>"
    ordered = [_response(closed.format(1, "left")), _response("<think>frame"), _response(closed.format(2, "right"))]
    contrast = [_response("<think>no end"), _response(closed.format(7, "up")), _response(closed.format(8, "up"))]
    gains = thought_gains(model, builder, Group(asked, ordered, contrast, None), 0.7)
    # The first closed response gets the notes of frame 7. The third gets those of frame 7 again: 2 modulo 2.
    for g, way, frame in ((0, "left", 1), (2, "right", 2)):
        own_C, other_C = _logps(closed.format(frame, way)), _logps(closed.format(7, way))
        token = conclusion_token(builder, ordered[g].ids_C, ordered[g].text)
        assert gains[g] == pytest.approx(float((own_C[token:] - other_C[token:]).mean()), abs=1e-4)
        assert abs(gains[g]) > 1e-4
    assert gains[1] == 0.0  # an open thought
    assert thought_gains(model, builder, Group(asked, ordered, contrast[:1], None), 0.7) == [0.0] * 3
    image = ask(question("clip", data_type="image"), reader, builder, "reverse", 0, 0)
    assert thought_gains(model, builder, Group(image, ordered, [], None), 0.7) == []
