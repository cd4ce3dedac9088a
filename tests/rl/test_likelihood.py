from math import log
from pathlib import Path

import pytest
import torch

from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.model.vision import FeatureCache
from stages.rl.likelihood import likelihood_gains, mean_gains
from stages.rl.questions import ask
from stages.rl.rollout import roll_out
from stages.rl.scoring import use_group_prefix_attention
from tests.model.tiny_models import clip, picture, question
from tests.rl.conftest import write_frames


def test_the_gain_is_the_mean_over_a_responses_own_tokens() -> None:
    ordered_RC = torch.tensor([[log(0.5), log(0.8)], [log(0.3), 9.0]], dtype=torch.float64)
    contrast_RC = torch.tensor([[log(0.25), log(0.1)], [log(0.6), 0.0]], dtype=torch.float64)
    gains_R = mean_gains(ordered_RC, contrast_RC, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    assert gains_R.tolist() == pytest.approx([(log(2) + log(8)) / 2, -log(2)])


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
        expected = []
        for response in group.ordered:
            logps = []
            for prompt in (group.question.ordered, group.question.contrast):
                assert prompt is not None
                inputs = builder.normalised(builder.batch([prompt], [response.ids_C]))
                labels_L = inputs.pop("labels")[0]
                with torch.no_grad():
                    logps_LV = (model(**inputs).logits[0, :-1] / 0.7).log_softmax(-1)
                logps.append(logps_LV.gather(1, labels_L[1:, None].clamp(min=0))[labels_L[1:] >= 0, 0])
            expected.append(float((logps[0] - logps[1]).mean()))
        assert found == pytest.approx(expected, abs=1e-4)
        assert max(map(abs, found)) > 1e-3
