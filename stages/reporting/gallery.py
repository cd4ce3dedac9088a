"""The examples of the page; equal inputs give equal examples."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.data.annotations import AnnotationRow
from stages.data.rollouts import RolloutRow
from stages.data.sample import Reject, Sample
from stages.evaluation.definition import Profile
from stages.evaluation.predictions import PredictionRow, graded_answer
from stages.reporting.cards import (
    ORDER_LABELS,
    Card,
    Response,
    Strip,
    in_turn,
    is_right,
    split_thought,
    spread,
)
from stages.reporting.pictures import frame_strip
from stages.video.frame_store import FrameReader

_ONE_ANSWER = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)


@dataclass(frozen=True)
class RolloutExamples:
    """Groups of T-GRPO.

    `with_signal` of the `stored` groups have responses with different advantages.
    """

    cards: list[Card]
    with_signal: int
    stored: int


def rollout_examples(
    rollouts: Sequence[RolloutRow], samples: Mapping[str, Sample], reader: FrameReader, count: int
) -> RolloutExamples:
    """Groups of T-GRPO whose responses differ in their advantage.

    They are evenly spread over the training. Each card shows two responses in order, and one with contrast frames. The
    two are the best and the worst. Where Δ was measured and correct responses differ, they are two correct ones: that
    which depends most on the order of frames, and that which depends least.
    """
    groups: dict[tuple[int, str], list[RolloutRow]] = defaultdict(list)
    for row in rollouts:
        groups[row["step"], row["sample_id"]].append(row)
    with_signal = [key for key in sorted(groups) if _has_signal(groups[key])]
    cards = [
        _rollout_card(step, groups[step, sample_id], samples[sample_id], reader)
        for step, sample_id in spread(with_signal, count)
    ]
    return RolloutExamples(cards, len(with_signal), len(groups))


def dropped_cards(
    rejects: Sequence[Reject],
    annotations: Sequence[AnnotationRow],
    samples: Mapping[str, Sample],
    reader: FrameReader,
    count: int,
) -> dict[str, list[Card]]:
    """Dropped samples with the teacher's answers, by the filter's reason.

    The most frequent reason comes first. A title names the reason and how many samples it dropped; the samples shown
    are evenly spread.
    """
    answers: dict[str, list[AnnotationRow]] = defaultdict(list)
    for row in annotations:
        answers[row["sample_id"]].append(row)
    groups: dict[str, list[Reject]] = defaultdict(list)
    for reject in rejects:
        groups[f"{reject.stage}: {reject.reason}"].append(reject)
    with_frames = set(reader.sample_ids)
    cards = {}
    for reason, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        cards[f"{reason}, {len(group):,} dropped"] = [
            Card(
                samples[reject.sample_id],
                [strip_of(reader, reject.sample_id)] if reject.sample_id in with_frames else [],
                reject.detail or reason,
                [_from_annotation(row) for row in answers[reject.sample_id] if row["text"]],
            )
            for reject in spread(group, count)
        ]
    return cards


def kept_cards(kept: Sequence[Sample], reader: FrameReader, count: int) -> list[Card]:
    """Samples of the SFT set, from each kind of question in turn."""
    cards = []
    for sample in in_turn(kept, [kind_of(sample) for sample in kept], count):
        thought, _ = split_thought(sample.process or "")
        response = Response("teacher", thought, sample.answer, None)
        cards.append(Card(sample, [strip_of(reader, sample.sample_id)], kind_of(sample), [response]))
    return cards


def strip_of(reader: FrameReader, sample_id: str, label: str = "", order: Sequence[int] | None = None) -> Strip:
    """The frames of a sample, as stored or in `order`."""
    return Strip(label, frame_strip(reader, sample_id, order))


def kind_of(sample: Sample) -> str:
    """What a question is about; its answer type without a category."""
    return sample.category or sample.problem_type


def from_prediction(row: PredictionRow, label: str, profile: Profile) -> Response:
    """A scored answer with the answer that `profile` graded."""
    thought, _ = split_thought(row["text"])
    answer = graded_answer(row, profile)
    if answer == row["text"]:
        answer = "(graded as a whole)"
    return Response(label, thought, answer, row[profile])


def _from_rollout(row: RolloutRow) -> Response:
    thought, _ = split_thought(row["text"])
    parts = {
        "accuracy": row["accuracy"],
        "format": row["format"],
        "Δ": row["gain"],
        "temporal": row["temporal"],
        "length": row["length"],
        "advantage": row["advantage"],
    }
    given = [(name, value) for name, value in parts.items() if value is not None]
    return Response(ORDER_LABELS[row["order"]], thought, row["answer"], row["accuracy"], given)


def _from_annotation(row: AnnotationRow) -> Response:
    """A teacher's answer.

    The table holds no extracted answer: unless one answer in tags follows the thought, the text there stands as it is.
    """
    thought, rest = split_thought(row["text"])
    found = _ONE_ANSWER.fullmatch(rest)
    return Response("teacher", thought, (found[1].strip() if found else rest) or None, None)


def _has_signal(rows: Sequence[RolloutRow]) -> bool:
    return len({row["advantage"] for row in rows if row["order"] == "ordered"}) > 1


def _rollout_card(step: int, rows: Sequence[RolloutRow], sample: Sample, reader: FrameReader) -> Card:
    ordered = sorted((row for row in rows if row["order"] == "ordered"), key=lambda row: -(row["advantage"] or 0.0))
    contrast = [row for row in rows if row["order"] != "ordered"]
    apart = _apart(ordered)
    shown = [*apart, *contrast[:1]]
    more = [row for row in ordered if all(row is not one for one in apart)] + contrast[1:]
    note = f"Step {step}. Mean accuracy in order {_mean_accuracy(ordered)}"
    if contrast:
        note += f", {ORDER_LABELS[contrast[0]['order']]} {_mean_accuracy(contrast)}"
    responses, folded = [_from_rollout(row) for row in shown], [_from_rollout(row) for row in more]
    return Card(sample, [strip_of(reader, sample.sample_id)], note, responses, folded)


def _apart(ordered: Sequence[RolloutRow]) -> list[RolloutRow]:
    """The two responses to show; `ordered` has the best first."""
    by_gain = sorted((row for row in ordered if is_right(row["accuracy"])), key=lambda row: -(row["gain"] or 0.0))
    measured = by_gain and by_gain[0]["gain"] is not None
    chosen = by_gain if measured and by_gain[0]["text"] != by_gain[-1]["text"] else ordered
    return [chosen[0], chosen[-1]] if len(chosen) > 1 else [*chosen]


def _mean_accuracy(rows: Sequence[RolloutRow]) -> str:
    return f"{sum(row['accuracy'] for row in rows) / len(rows):.2f} (n = {len(rows)})"
