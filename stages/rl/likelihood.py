"""How much likelier ordered frames, or its own thought, make a response."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.data.grading.thought import conclusion_start
from stages.generation.generate import Completion
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.vision import Features, encoded_media, pixel_media
from stages.rl.rollout import Group
from stages.rl.scoring import pack, score


@dataclass(frozen=True)
class Gains:
    """What the ordered frames add to the log-probability of one response.

    tokens_C is Δ_t = log π(token | ordered frames) − log π(token | contrast frames) of each token, in nats.
    `conclusion` is the first token of its conclusion, None where the thought is not closed; thought.py of the grading
    says where a conclusion begins.
    """

    tokens_C: Tensor
    conclusion: int | None

    @property
    def likelihood(self) -> float:
        """Δ: the mean over all tokens.

        This is in the spirit of TaRO (arXiv 2606.09248). The mean keeps a response from earning more by being longer.
        """
        return float(self.tokens_C.mean())

    @property
    def answer(self) -> float:
        """Δ of conclusion and answer alone; 0 without a closed thought."""
        return 0.0 if self.conclusion is None else float(self.tokens_C[self.conclusion :].mean())


@torch.no_grad()
def likelihood_gains(model: PreTrainedModel, builder: PromptBuilder, group: Group, temperature: float) -> list[Gains]:
    """The gains of each ordered response; empty without contrast frames.

    The responses are scored once more, behind the contrast prompt. Their log-probabilities behind the ordered prompt
    are known from sampling.
    """
    prompt, features = group.question.contrast, group.contrast_features
    if prompt is None:
        return []
    contrast_RC = _logps(model, builder, prompt, features, [response.ids_C for response in group.ordered], temperature)
    return [
        Gains(
            response.logps_C - contrast_C[: len(response.ids_C)],
            _conclusion(builder, response),
        )
        for response, contrast_C in zip(group.ordered, contrast_RC, strict=True)
    ]


@torch.no_grad()
def thought_gains(model: PreTrainedModel, builder: PromptBuilder, group: Group, temperature: float) -> list[float]:
    """What its own notes add to the log-probability of each conclusion.

    Δ = the mean, over the tokens of conclusion and answer, of log π(token | ordered frames, own notes) − log π(token |
    ordered frames, notes of a contrast response), in nats. Notes are what stands before the conclusion. The closed
    contrast responses lend theirs in turn. It is large only where the conclusion rests on the notes, as the exchange of
    stages/generation/faithfulness.py asks of a whole answer. 0 where no thought can be exchanged; empty without
    contrast frames.
    """
    if group.question.contrast is None:
        return []
    gains = [0.0] * len(group.ordered)
    starts = {g: start for g, each in enumerate(group.ordered) if (start := _conclusion(builder, each)) is not None}
    notes = [each.ids_C[:start] for each in group.contrast if (start := _conclusion(builder, each)) is not None]
    if not starts or not notes:
        return gains
    lent = {g: notes[g % len(notes)] for g in starts}
    exchanged = [torch.cat([lent[g], group.ordered[g].ids_C[start:]]) for g, start in starts.items()]
    exchanged_RC = _logps(model, builder, group.question.ordered, group.features, exchanged, temperature)
    for (g, start), exchanged_C in zip(starts.items(), exchanged_RC, strict=True):
        own_C = group.ordered[g].logps_C[start:]
        gains[g] = float((own_C - exchanged_C[len(lent[g]) :][: len(own_C)]).mean())
    return gains


def _logps(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompt: Prompt,
    features: Features | None,
    completions: Sequence[Tensor],
    temperature: float,
) -> Tensor:
    """log π [R, C] of the completions' tokens behind the prompt.

    It is on the CPU.
    """
    packed = pack([prompt], [completions]).to(model.device)
    media = pixel_media(builder, [prompt], model.device) if features is None else encoded_media([features])
    return score(model, packed, media, temperature).logps_RC.cpu()


def _conclusion(builder: PromptBuilder, response: Completion) -> int | None:
    return conclusion_token(builder, response.ids_C, response.text)


def conclusion_token(builder: PromptBuilder, ids_C: Tensor, text: str) -> int | None:
    """The conclusion's first token in ids_C; None without a conclusion.

    `text` is the text of ids_C. The token is the first token that ends behind the conclusion's first character.
    """
    start = conclusion_start(text)
    if start is None:
        return None
    return bisect_right(range(len(ids_C)), start, key=lambda token: len(builder.decode(ids_C[: token + 1])))
