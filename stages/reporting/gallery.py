"""The examples of the page; equal inputs give equal examples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.data.annotations import AnnotationRow
from stages.data.rollouts import RolloutRow
from stages.data.sample import Reject, Sample
from stages.evaluation.definition import Profile, extract
from stages.evaluation.predictions import PredictionRow
from stages.reporting.cards import ORDER_LABELS, Card, Response, Strip, in_turn, split_thought, spread
from stages.reporting.pictures import frame_strip
from stages.video.frame_store import FrameReader


@dataclass(frozen=True)
class WrongAnswers:
    """One model's answers of one kind below the full score.

    `wrong` counts scores of 0 and `partly` those between 0 and 1, of `asked` questions. `cards` show the lowest scores.
    """

    kind: str
    wrong: int
    partly: int
    asked: int
    cards: list[Card]


def rollout_cards(
    rollouts: Sequence[RolloutRow], samples: Mapping[str, Sample], reader: FrameReader, count: int
) -> list[Card]:
    """Groups of T-GRPO, evenly spread over the training.

    Each card shows the best and the worst response in order, and one with contrast frames.
    """
    groups: dict[tuple[int, str], list[RolloutRow]] = {}
    for row in rollouts:
        groups.setdefault((row["step"], row["sample_id"]), []).append(row)
    return [
        _rollout_card(step, groups[step, sample_id], samples[sample_id], reader)
        for step, sample_id in spread(sorted(groups), count)
    ]


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
                [_strip(reader, reject.sample_id)] if reject.sample_id in with_frames else [],
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
        cards.append(Card(sample, [_strip(reader, sample.sample_id)], kind_of(sample), [response]))
    return cards


def wrong_answers(
    rows: Sequence[PredictionRow], samples: Mapping[str, Sample], reader: FrameReader, profile: Profile, count: int
) -> list[WrongAnswers]:
    """One model's wrong answers with frames in order.

    There are up to `count` cards for each kind of question.
    """
    kinds: dict[str, list[tuple[float, PredictionRow]]] = defaultdict(list)
    for row in rows:
        score = row[profile]
        if row["order"] == "ordered" and score is not None:
            kinds[row["category"] or row["problem_type"]].append((score, row))
    found = []
    for kind, asked in sorted(kinds.items()):
        below = sorted(((score, row) for score, row in asked if score < 1), key=lambda scored: scored[0])
        wrong = sum(score == 0 for score, _ in below)
        cards = [_wrong_card(row, samples[row["sample_id"]], reader, profile) for _, row in below[:count]]
        if below:
            found.append(WrongAnswers(kind, wrong, len(below) - wrong, len(asked), cards))
    return found


def order_cards(
    rows: Sequence[PredictionRow], samples: Mapping[str, Sample], reader: FrameReader, profile: Profile, count: int
) -> list[Card]:
    """Questions with score 1 in order and score 0 shuffled."""
    shuffled = {row["sample_id"]: row for row in rows if row["order"] == "shuffled" and row[profile] == 0}
    right = [row for row in rows if row["order"] == "ordered" and row[profile] == 1 and row["sample_id"] in shuffled]
    cards = []
    for row in in_turn(right, [row["category"] for row in right], count):
        both = [row, shuffled[row["sample_id"]]]
        strips = [_strip(reader, each["sample_id"], ORDER_LABELS[each["order"]], each["frame_order"]) for each in both]
        responses = [from_prediction(each, ORDER_LABELS[each["order"]], profile) for each in both]
        cards.append(Card(samples[row["sample_id"]], strips, row["category"], responses))
    return cards


def kind_of(sample: Sample) -> str:
    """What a question is about; its answer type without a category."""
    return sample.category or sample.problem_type


def from_prediction(row: PredictionRow, label: str, profile: Profile) -> Response:
    """A scored answer with the answer that `profile` graded."""
    thought, _ = split_thought(row["text"])
    answer = row["prediction"] if profile == "official" else extract(row["text"], profile)
    if answer == row["text"]:
        answer = "(graded as a whole)"
    return Response(label, thought, answer, row[profile])


def _from_rollout(row: RolloutRow) -> Response:
    thought, _ = split_thought(row["text"])
    parts = {
        "accuracy": row["accuracy"],
        "format": row["format"],
        "temporal": row["temporal"],
        "length": row["length"],
        "advantage": row["advantage"],
    }
    given = [(name, value) for name, value in parts.items() if value is not None]
    return Response(ORDER_LABELS[row["order"]], thought, row["answer"], row["accuracy"], given)


def _from_annotation(row: AnnotationRow) -> Response:
    """A teacher's answer.

    The table holds no extracted answer, so the text after the thought stands as it is.
    """
    thought, rest = split_thought(row["text"])
    return Response("teacher", thought, rest or None, None)


def _rollout_card(step: int, rows: Sequence[RolloutRow], sample: Sample, reader: FrameReader) -> Card:
    ordered = sorted((row for row in rows if row["order"] == "ordered"), key=lambda row: -(row["advantage"] or 0.0))
    contrast = [row for row in rows if row["order"] != "ordered"]
    shown = [ordered[0], ordered[-1], *contrast[:1]] if len(ordered) > 1 else [*ordered, *contrast[:1]]
    more = [*ordered[1:-1], *contrast[1:]]
    note = f"Step {step}. Mean accuracy in order: {_mean_accuracy(ordered)}."
    if contrast:
        note += f" {ORDER_LABELS[contrast[0]['order']].capitalize()}: {_mean_accuracy(contrast)}."
    responses, folded = [_from_rollout(row) for row in shown], [_from_rollout(row) for row in more]
    return Card(sample, [_strip(reader, sample.sample_id)], note, responses, folded)


def _wrong_card(row: PredictionRow, sample: Sample, reader: FrameReader, profile: Profile) -> Card:
    note = row["sample_id"] if row["status"] == "ok" else f"{row['sample_id']}, {row['status'].replace('_', ' ')}"
    return Card(sample, [_strip(reader, row["sample_id"])], note, [from_prediction(row, "answer", profile)])


def _strip(reader: FrameReader, sample_id: str, label: str = "", order: Sequence[int] | None = None) -> Strip:
    return Strip(label, frame_strip(reader, sample_id, order))


def _mean_accuracy(rows: Sequence[RolloutRow]) -> str:
    return f"{sum(row['accuracy'] for row in rows) / len(rows):.2f} of {len(rows)} responses"
