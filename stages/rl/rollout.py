"""One rollout: responses on frames in order and on contrast frames."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers.modeling_utils import PreTrainedModel

from stages.generation.faithfulness import Exchange
from stages.generation.generate import Completion, generate
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.vision import FeatureCache, Features, media_of
from stages.rl.questions import RolloutQuestion, draw_seed


@dataclass(frozen=True)
class Group:
    """A question's responses: G on ordered frames, K on contrast frames.

    K is 0 for a question without contrast frames, and where only log-probabilities are compared. `features` and
    `contrast_features` are the vision features of its two prompts, None where the vision tower is trained.
    """

    question: RolloutQuestion
    ordered: list[Completion]
    contrast: list[Completion]
    features: Features | None
    contrast_features: Features | None = None


def roll_out(
    model: PreTrainedModel,
    builder: PromptBuilder,
    questions: Sequence[RolloutQuestion],
    group_size: int,
    contrast_size: int,
    sampling: Sampling,
    seed: int,
    step: int,
    kept: FeatureCache | None,
    most_rows: int | None = None,
) -> list[Group]:
    """Sample all responses of all questions, at most `most_rows` at once.

    Each prompt is encoded and prefilled once. `kept` are features of a frozen vision tower: scoring uses them too.
    Those of ordered frames stay for the next visit. Those of contrast frames do not, because their order is then
    another one. None stands for a tower that is trained.
    """
    contrasts = [question.contrast for question in questions if question.contrast is not None]
    ordered, features = [question.ordered for question in questions], None
    if kept is not None:
        features = kept.encode(model, builder, ordered, once=contrasts)
    prompts = ordered + contrasts * (contrast_size > 0)
    responses = generate(
        model,
        builder,
        prompts,
        [group_size] * len(questions) + [contrast_size] * (len(prompts) - len(questions)),
        sampling,
        [draw_seed(seed, step, b < len(questions), prompt.sample_id) for b, prompt in enumerate(prompts)],
        media=media_of(features) if features else None,
        most_rows=most_rows,
    )
    encoded: Sequence[Features | None] = features or [None] * (len(ordered) + len(contrasts))
    groups, place = [], len(questions)  # the place of the next contrast prompt
    for b, question in enumerate(questions):
        if question.contrast is not None:
            contrast = responses[place] if contrast_size else []
            contrast_features, place = encoded[place], place + 1
        else:
            contrast, contrast_features = [], None
        groups.append(Group(question, responses[b], contrast, encoded[b], contrast_features))
    return groups


def exchanges_of(groups: Sequence[Group]) -> list[Exchange]:
    """Each question with its first ordered and its first contrast response."""
    return [
        Exchange(
            group.question.sample,
            group.question.ordered,
            group.ordered[0].text,
            group.contrast[0].text,
            group.features,
        )
        for group in groups
        if group.contrast
    ]
