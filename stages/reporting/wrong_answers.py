"""Wrong answers of the last model, and models that score zero."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stages.data.order import Order
from stages.data.sample import Sample
from stages.evaluation.definition import Profile
from stages.evaluation.predictions import PredictionRow, graded_answer
from stages.reporting.cards import Card, Response, in_turn, is_right, is_wrong
from stages.reporting.comparison import AnswerCounts, label
from stages.reporting.gallery import from_prediction, strip_of
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


@dataclass(frozen=True)
class ZeroScore:
    """A model that scores 0 on every question.

    `reason` says how its answers ended. `card` shows its first answer.
    """

    model: str
    reason: str
    card: Card


def wrong_answers(
    predictions: Mapping[str, Sequence[PredictionRow]],
    samples: Mapping[str, Sample],
    reader: FrameReader,
    profile: Profile,
    count: int,
) -> list[WrongAnswers]:
    """The last model's wrong answers with frames in order.

    The lowest scores come first. There are up to `count` cards, taken from each kind of question in turn. Beside each
    wrong answer stand the model's answer to the same question with the frames shuffled, and the answer of the model
    before it.
    """
    *earlier, last = predictions
    shuffled = _by_question(predictions[last], "shuffled")
    before = _by_question(predictions[earlier[-1]], "ordered") if earlier else {}
    asked = _scored(predictions[last], profile)
    below = sorted((each for each in asked if not is_right(each.score)), key=lambda each: each.score)
    cards: dict[str, list[Card]] = defaultdict(list)
    for kind, score, row in in_turn(below, [each.kind for each in below], count):
        name = row["sample_id"]
        answers = {"in order": row}
        if name in shuffled:
            answers["shuffled"] = shuffled[name]
        if name in before:
            answers[f"{label(earlier[-1])}, in order"] = before[name]
        responses = [from_prediction(answer, title, profile) for title, answer in answers.items()]
        note = _note(name, shuffled.get(name))
        cards[kind].append(Card(samples[name], [strip_of(reader, name)], note, responses, status=_status(row, score)))
    n_asked, n_below = Counter(each.kind for each in asked), Counter(each.kind for each in below)
    n_wrong = Counter(each.kind for each in below if is_wrong(each.score))
    return [
        WrongAnswers(kind, n_wrong[kind], n_below[kind] - n_wrong[kind], n_asked[kind], cards[kind])
        for kind in sorted(n_below)
    ]


def zero_scores(
    predictions: Mapping[str, Sequence[PredictionRow]],
    counts: Sequence[AnswerCounts],
    samples: Mapping[str, Sample],
    reader: FrameReader,
    profile: Profile,
) -> list[ZeroScore]:
    """The models whose every answer scores 0.

    `counts` holds the answer counts of each model.
    """
    found = []
    for (model, rows), ended in zip(predictions.items(), counts, strict=True):
        scored = [row for row in rows if row["order"] == "ordered" and row[profile] is not None]
        if not scored or any(row[profile] for row in scored):
            continue
        first = scored[0]
        response = Response("whole output", first["text"], graded_answer(first, profile), None)
        card = Card(samples[first["sample_id"]], [strip_of(reader, first["sample_id"])], first["sample_id"], [response])
        found.append(ZeroScore(label(model), _reason(ended), card))
    return found


def _reason(ended: AnswerCounts) -> str:
    wrong = ended.answered - ended.truncated - ended.no_answer
    ends = {"cut off at the token limit": ended.truncated, "without an answer": ended.no_answer, "wrong": wrong}
    parts = [f"{count} {end}" for end, count in ends.items() if count]
    return f"Its {ended.answered} answers: {', '.join(parts)}."


class _Scored(NamedTuple):
    """A scored answer, and the kind of its question."""

    kind: str
    score: float
    row: PredictionRow


def _scored(rows: Sequence[PredictionRow], profile: Profile) -> list[_Scored]:
    """The answers with frames in order that have a score."""
    found = []
    for row in rows:
        score = row[profile]
        if row["order"] == "ordered" and score is not None:
            found.append(_Scored(row["category"] or row["problem_type"], score, row))
    return found


def _by_question(rows: Sequence[PredictionRow], order: Order) -> dict[str, PredictionRow]:
    return {row["sample_id"]: row for row in rows if row["order"] == order}


def _note(sample_id: str, shuffled: PredictionRow | None) -> str:
    if shuffled is None:
        return sample_id
    return f"{sample_id}; shuffled as {' '.join(str(index + 1) for index in shuffled['frame_order'])}"


def _status(row: PredictionRow, score: float) -> str:
    """One of STATUSES."""
    if row["status"] == "truncated":
        return "truncated"
    if row["status"] == "no_answer":
        return "no-answer"
    return "wrong" if is_wrong(score) else "partly"
