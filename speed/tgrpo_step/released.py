"""The released code's way to make the step."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor
from transformers.modeling_utils import PreTrainedModel

from speed.tgrpo_step.cases import FPS, TOP_P
from speed.tgrpo_step.here import LOSS
from stages.model.inputs import Prompt, PromptBuilder
from stages.rl.rollout import Group


class EndAt(LogitsProcessor):
    """Lets row r end at its own length.

    Both ways then decode the same number of tokens.
    """

    def __init__(self, prompt: int, lengths: Sequence[int], end_id: int) -> None:
        self.prompt, self.lengths, self.end_id = prompt, lengths, end_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]  # plain tensors
        """Only the end token at a row's end, any other before."""
        produced = input_ids.shape[1] - self.prompt + 1
        ends_R = torch.tensor([produced == length for length in self.lengths], device=scores.device)
        scores[:, self.end_id] = -torch.inf
        scores[ends_R] = -torch.inf
        scores[ends_R, self.end_id] = 0.0
        return scores


def model_inputs(model: PreTrainedModel, builder: PromptBuilder, prompt: Prompt) -> dict[str, Tensor]:
    """What the family's processor gives for a video prompt."""
    inputs = builder.normalised({name: value.to(model.device) for name, value in builder.batch([prompt]).items()})
    del inputs["position_ids"]
    is_video_1P = (inputs["input_ids"] == builder.config.video_token_id).int()
    seconds = torch.tensor([2 / FPS], device=model.device)
    return inputs | {"mm_token_type_ids": 2 * is_video_1P, "second_per_grid_ts": seconds}


def roll_out(model: PreTrainedModel, builder: PromptBuilder, group: Group, completion: int) -> None:
    """Sample as many tokens as this project did, by two `generate` calls.

    `completion` is the most.
    """
    assert group.question.contrast is not None
    for prompt, responses in ((group.question.ordered, group.ordered), (group.question.contrast, group.contrast)):
        lengths = [len(response.ids_C) if not response.truncated else completion + 1 for response in responses]
        ids_RL = model.generate(  # type: ignore[attr-defined]  # the protocol of transformers rejects its own models
            **model_inputs(model, builder, prompt),
            num_return_sequences=len(responses),
            do_sample=True,
            temperature=1.0,
            top_p=TOP_P,
            max_new_tokens=completion,
            eos_token_id=builder.end_id,
            pad_token_id=builder.pad_id,
            suppress_tokens=builder.banned_ids,
            logits_processor=[EndAt(len(prompt.ids_P), lengths, builder.end_id)],
        )
        assert isinstance(ids_RL, Tensor)
        assert ids_RL.shape[1] - len(prompt.ids_P) == max(len(response.ids_C) for response in responses)


def logps(model: PreTrainedModel, builder: PromptBuilder, group: Group) -> tuple[Tensor, Tensor]:
    """Log-probabilities [R, C] of the ordered responses, and their mask."""
    ids_RC = torch.nn.utils.rnn.pad_sequence(
        [response.ids_C for response in group.ordered], batch_first=True, padding_value=builder.pad_id
    ).to(model.device)
    lengths_R = torch.tensor([len(response.ids_C) for response in group.ordered], device=model.device)
    mask_RC = torch.arange(ids_RC.shape[1], device=model.device) < lengths_R[:, None]
    inputs, R = model_inputs(model, builder, group.question.ordered), len(ids_RC)
    ids_RL = torch.cat([inputs["input_ids"].expand(R, -1), ids_RC], dim=1)
    types_RC = torch.zeros_like(ids_RC, dtype=torch.int)
    logits_RLV = model(
        input_ids=ids_RL,
        attention_mask=torch.cat([inputs["attention_mask"].expand(R, -1), mask_RC.int()], dim=1),
        mm_token_type_ids=torch.cat([inputs["mm_token_type_ids"].expand(R, -1), types_RC], dim=1),
        pixel_values_videos=inputs["pixel_values_videos"].repeat(R, 1),
        video_grid_thw=inputs["video_grid_thw"].repeat(R, 1),
        second_per_grid_ts=inputs["second_per_grid_ts"].repeat(R),
        use_cache=False,
    ).logits[:, :-1]
    rows = [
        logits_LV.log_softmax(dim=-1).gather(1, ids_L[:, None])[:, 0]
        for logits_LV, ids_L in zip(logits_RLV, ids_RL[:, 1:], strict=True)
    ]
    return torch.stack(rows)[:, inputs["input_ids"].shape[1] - 1 :], mask_RC


def policy_loss(
    model: PreTrainedModel, builder: PromptBuilder, group: Group, reference_RC: Tensor, advantages_R: Tensor
) -> Tensor:
    """The released loss.

    It is the mean over tokens, then over rows, of −(ratio · A − β · KL).
    """
    logps_RC, mask_RC = logps(model, builder, group)
    x_RC = (reference_RC - logps_RC).clamp(-10, 10)
    kl_RC = x_RC.exp() - x_RC - 1
    losses_RC = -((logps_RC - logps_RC.detach()).exp() * advantages_R[:, None] - LOSS.beta * kl_RC)
    return ((losses_RC * mask_RC).sum(dim=1) / mask_RC.sum(dim=1)).mean()
