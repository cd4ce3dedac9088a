"""Examples for the page: kept and dropped samples, rollouts, wrong answers, one question in two orders, chosen alike every time."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stages.data.grading import extract_answer
from stages.data.sample import Reject, Sample
from stages.reporting.pictures import frame_strip
from stages.video.frame_store import FrameReader

Row = Mapping[str, Any]
REWARD_PARTS = ("accuracy", "format", "temporal", "length", "advantage")

_THOUGHT = re.compile(r"<think>(.*?)(?:</think>|$)", re.DOTALL)


@dataclass(frozen=True)
class Response:
    """One output, cut into thought and answer; the raw text stands for a thought that has no tags."""

    label: str
    thought: str
    answer: str | None
    score: float | None
    parts: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Strip:
    """Frames in a row: each one's number in the clip and its picture."""

    label: str
    frames: list[tuple[int, str]]


@dataclass(frozen=True)
class Card:
    """One question with its frames, what was answered, and a line about it; `more` is folded away."""

    sample: Sample
    strips: list[Strip]
    note: str
    responses: list[Response]
    more: list[Response] = field(default_factory=list)


def rollout_cards(
    rollouts: Sequence[Row], samples: Mapping[str, Sample], reader: FrameReader, count: int
) -> list[Card]:
    """Questions of T-GRPO with their groups: the best and the worst response in order and one with other frames, the rest folded away."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rollouts:
        groups.setdefault((row["step"], row["sample_id"]), []).append(row)
    cards = []
    for step, sample_id in spread(sorted(groups), count):
        rows = groups[step, sample_id]
        ordered = sorted((row for row in rows if row["order"] == "ordered"), key=lambda row: -row["advantage"])
        contrast = [row for row in rows if row["order"] != "ordered"]
        shown = [ordered[0], ordered[-1], *contrast[:1]] if len(ordered) > 1 else [*ordered, *contrast[:1]]
        rest = [*ordered[1:-1], *contrast[1:]]
        note = f"Step {step}. In order: {_share(ordered)} right."
        if contrast:
            note += f" {contrast[0]['order'].capitalize()}: {_share(contrast)} right."
        strip = Strip("", frame_strip(reader, sample_id))
        cards.append(
            Card(
                samples[sample_id],
                [strip],
                note,
                [_from_rollout(row) for row in shown],
                [_from_rollout(row) for row in rest],
            )
        )
    return cards


def dropped_cards(
    rejects: Sequence[Reject],
    annotations: Sequence[Row],
    samples: Mapping[str, Sample],
    reader: FrameReader,
    count: int,
) -> dict[str, list[Card]]:
    """For each reason of the filter and how often it had it, samples that it dropped, evenly spread, with all that the teacher said."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in annotations:
        texts[row["sample_id"]].append(row["text"])
    groups: dict[str, list[Reject]] = defaultdict(list)
    for reject in rejects:
        groups[f"{reject.stage}: {reject.reason}"].append(reject)
    ready = set(reader.sample_ids)
    return {
        f"{reason}, {len(group):,} dropped": [
            Card(
                samples[reject.sample_id],
                [Strip("", frame_strip(reader, reject.sample_id))] if reject.sample_id in ready else [],
                reject.detail or reason,
                [response_from(text, "teacher", None) for text in texts[reject.sample_id] if text],
            )
            for reject in spread(group, count)
        ]
        for reason, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def kept_cards(kept: Sequence[Sample], reader: FrameReader, count: int) -> list[Card]:
    """Samples of the SFT set with their chains of thought, from each kind of question in turn."""
    kinds = [sample.category or sample.problem_type for sample in kept]
    return [
        Card(
            sample,
            [Strip("", frame_strip(reader, sample.sample_id))],
            kind,
            [replace(response_from(sample.process or "", "teacher", None), answer=sample.answer)],
        )
        for sample, kind in in_turn(list(zip(kept, kinds, strict=True)), kinds, count)
    ]


@dataclass(frozen=True)
class Mistakes:
    """What one model got wrong of one kind of question: `wrong` of `asked`, and cards of the first ones."""

    kind: str
    wrong: int
    asked: int
    cards: list[Card]


def mistakes(
    rows: Sequence[Row], samples: Mapping[str, Sample], reader: FrameReader, score: str, count: int
) -> list[Mistakes]:
    """Answers of one model that scored less than half with frames in order, `count` of each kind of question at most."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        if row["order"] == "ordered" and row[score] is not None:
            kinds.setdefault(row["category"] or row["problem_type"], []).append(row)
    found = []
    for kind, asked in sorted(kinds.items()):
        wrong = [row for row in asked if row[score] < 0.5]
        cards = [
            Card(
                samples[row["sample_id"]],
                [Strip("", frame_strip(reader, row["sample_id"]))],
                row["sample_id"] if row["status"] == "ok" else f"{row['sample_id']}, {row['status'].replace('_', ' ')}",
                [response_from(row["text"], "answer", row[score])],
            )
            for row in wrong[:count]
        ]
        found += [Mistakes(kind, len(wrong), len(asked), cards)] if wrong else []
    return found


def reliance_cards(
    rows: Sequence[Row], samples: Mapping[str, Sample], reader: FrameReader, score: str, count: int
) -> list[Card]:
    """Questions that a model got right with frames in order and wrong with the same frames shuffled, both strips as it saw them."""
    shuffled = {
        row["sample_id"]: row
        for row in rows
        if row["order"] == "shuffled" and row[score] is not None and row[score] < 0.5
    }
    right = [row for row in rows if row["order"] == "ordered" and row[score] == 1 and row["sample_id"] in shuffled]
    cards = []
    for row in in_turn(right, [row["category"] for row in right], count):
        both = [row, shuffled[row["sample_id"]]]
        labels = ["in order", "shuffled"]
        strips = [
            Strip(text, frame_strip(reader, each["sample_id"], each["frame_order"]))
            for text, each in zip(labels, both, strict=True)
        ]
        responses = [response_from(each["text"], text, each[score]) for text, each in zip(labels, both, strict=True)]
        cards.append(Card(samples[row["sample_id"]], strips, row["category"], responses))
    return cards


def response_from(text: str, label: str, score: float | None, parts: Sequence[tuple[str, float]] = ()) -> Response:
    """A raw output as thought and answer."""
    thought = _THOUGHT.search(text)
    return Response(label, (thought.group(1) if thought else text).strip(), extract_answer(text), score, list(parts))


def in_turn(items: Sequence[Any], kinds: Sequence[str], count: int) -> list[Any]:
    """Up to `count` items, one of each kind after the other, kinds by name and items in the order given."""
    queues: dict[str, list[Any]] = {kind: [] for kind in sorted(kinds)}
    for item, kind in zip(items, kinds, strict=True):
        queues[kind].append(item)
    rounds = max((len(queue) for queue in queues.values()), default=0)
    return [queue[turn] for turn in range(rounds) for queue in queues.values() if turn < len(queue)][:count]


def spread(items: Iterable[Any], count: int) -> list[Any]:
    """Up to `count` items, evenly spread from the first to the last."""
    items = list(items)
    count = min(count, len(items))
    return [items[round(index * (len(items) - 1) / max(1, count - 1))] for index in range(count)]


def _from_rollout(row: Row) -> Response:
    parts = [(name, row[name]) for name in REWARD_PARTS if row[name] is not None]
    return response_from(row["text"], "in order" if row["order"] == "ordered" else row["order"], row["accuracy"], parts)


def _share(rows: Sequence[Row]) -> str:
    return f"{sum(row['accuracy'] > 0.5 for row in rows)} of {len(rows)}"
