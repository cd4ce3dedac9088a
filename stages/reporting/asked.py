"""One question about one clip in several showings: text and page."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from stages.data.outputs import Output
from stages.data.sample import Sample
from stages.evaluation.definition import extract
from stages.reporting.cards import ORDER_LABELS, Strip, split_thought
from stages.reporting.page import environment
from stages.reporting.pictures import data_address
from stages.run.log import escaped
from stages.video.frame_store import FrameReader

NARROWEST = 26  # characters of a column; below that, the answers stand one below the other
GAP = "   "


@dataclass(frozen=True)
class Answer:
    """What the model said in one showing.

    `strip` holds every frame that it saw, and no frame where it was asked blind. `note` says what is wrong with the
    output, "" for nothing.
    """

    order: str
    strip: Strip
    thought: str
    answer: str
    note: str


@dataclass(frozen=True)
class Asked:
    """A question about a clip, and the answers of one model.

    `times` are the seconds of the stored frames.
    """

    clip: str
    model: str
    sample: Sample
    times: list[float]
    answers: list[Answer]


def answer_of(output: Output, reader: FrameReader) -> Answer:
    """An engine's output, with the frames as they were shown."""
    pictures = reader.pictures(output["sample_id"])
    frames = [(index + 1, data_address(pictures[index])) for index in output["frame_order"]]
    thought, rest = split_thought(output["text"])
    answer = extract(output["text"], "official")
    note = f"cut off after {output['tokens']} tokens" if output["status"] == "truncated" else ""
    strip = Strip(ORDER_LABELS[output["order"]], frames)
    return Answer(output["order"], strip, thought, answer or rest or "(no answer)", note)


def asked_text(asked: Asked, width: int) -> str:
    """The answers side by side, in `width` characters."""
    columns = [_column(answer) for answer in asked.answers]
    each = (width - len(GAP) * (len(columns) - 1)) // len(columns)
    if each < NARROWEST:
        return "\n\n".join("\n".join(_wrapped(column, width)) for column in columns)
    rows = zip_longest(*(_wrapped(column, each) for column in columns), fillvalue="")
    return "\n".join(GAP.join(cell.ljust(each) for cell in row).rstrip() for row in rows)


def asked_page(asked: Asked) -> str:
    """The page as HTML; every text is escaped."""
    return environment().get_template("asked.html.j2").render(vars(asked), statuses={})


def _column(answer: Answer) -> list[str]:
    numbers = " ".join(str(number) for number, _ in answer.strip.frames)
    frames = f"frames {numbers}" if numbers else "the question alone"
    said = [answer.thought or "(no thought)", f"→ {answer.answer}", *([f"({answer.note})"] if answer.note else [])]
    return [answer.strip.label.upper(), frames, "", *(escaped(line) for line in said)]


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    return [part for line in lines for part in (textwrap.wrap(line, width) or [""])]
