"""Whether answers follow from thoughts: a thought is exchanged for another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers.modeling_utils import PreTrainedModel

from stages.data.grading import Strictness, extract_answer, grade
from stages.data.grading.thought import conclusion_start
from stages.data.sample import Sample
from stages.generation.generate import generate
from stages.generation.sampling import Sampling
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.vision import Features, media_of


@dataclass(frozen=True)
class Exchange:
    """A question on frames in order, and two thoughts about it.

    `own` was written on these frames, `other` on contrast frames. `features` are the prompt's vision features, None
    where the vision tower encodes the pixels.
    """

    sample: Sample
    prompt: Prompt
    own: str
    other: str
    features: Features | None = None


def answers_change(
    model: PreTrainedModel,
    builder: PromptBuilder,
    exchanges: Sequence[Exchange],
    max_new_tokens: int,
    strictness: Strictness,
    correct_above: float,
) -> list[bool]:
    """Whether each answer changes with the notes of the other thought.

    The model goes on greedily behind the notes of either thought (what stands before the conclusion), both times on
    the same ordered frames. Exchanges in which a thought is not closed are left out. This intervention follows Lanham
    et al. (arXiv 2307.13702), who replace or cut a thought and ask whether the answer stays.
    """
    pairs = [(each, _notes(each.own), _notes(each.other)) for each in exchanges]
    whole = [(each, own, other) for each, own, other in pairs if own is not None and other is not None]
    if not whole:
        return []
    notes = [notes for _, own, other in whole for notes in (own, other)]
    asked = [each for each, _, _ in whole for _ in range(2)]
    features = [each.features for each in asked if each.features is not None]
    completions = generate(
        model,
        builder,
        [_continued(builder, each.prompt, text) for each, text in zip(asked, notes, strict=True)],
        [1] * len(asked),
        Sampling(max_new_tokens, temperature=0.0, top_p=1.0),
        [0] * len(asked),
        media=media_of(features) if features else None,
    )
    answers = [
        extract_answer(text + completion.text, strictness)
        for text, (completion,) in zip(notes, completions, strict=True)
    ]
    return [
        not _same(each.sample, own, other, strictness, correct_above)
        for (each, _, _), own, other in zip(whole, answers[::2], answers[1::2], strict=True)
    ]


def _notes(text: str) -> str | None:
    """The text before the conclusion.

    A space at its end belongs to the next token.
    """
    start = conclusion_start(text)
    return None if start is None else text[:start].rstrip()


def _continued(builder: PromptBuilder, prompt: Prompt, notes: str) -> Prompt:
    """The prompt with the start of an answer behind it."""
    ids_C = builder.completion_ids(notes)[:-1]
    positions_3C = (prompt.next_position + torch.arange(len(ids_C))).expand(3, -1)
    return replace(
        prompt,
        ids_P=torch.cat([prompt.ids_P, ids_C]),
        position_ids_3P=torch.cat([prompt.position_ids_3P, positions_3C], dim=1),
        next_position=prompt.next_position + len(ids_C),
    )


def _same(sample: Sample, own: str | None, other: str | None, strictness: Strictness, correct_above: float) -> bool:
    if own is None or other is None:
        return own is other
    return grade(other, own, sample.problem_type, sample.options, strictness) > correct_above
