"""The conclusion of a response, and the frames that it names."""

import re
from bisect import bisect_right
from typing import NamedTuple

from torch import Tensor

from stages.model.inputs import PromptBuilder

_CONCLUDES = re.compile(r"\b(?:so|therefore|thus|hence)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?\n]\s*(?=\S)")
_FRAME = re.compile(r"\bframes?\s+#?(\d+)|\b(\d+(?:\.\d+)?)\s?s(?:ec(?:ond)?s?)?\b", re.IGNORECASE)


class FramesNamed(NamedTuple):
    """How often a response names a frame or a time."""

    mentions: int
    different: int


def frames_named(text: str) -> FramesNamed:
    """The frames ("frame 3") and times ("2.5 s") in a response.

    Many mentions of few frames are how a model could recite its way to a reward.
    """
    named = [frame or f"{time} s" for frame, time in _FRAME.findall(text)]
    return FramesNamed(len(named), len(set(named)))


def conclusion_start(text: str) -> int | None:
    """Where the conclusion starts, in characters; None without a closed thought.

    What stands before the conclusion are the thought's notes. Conclusion and answer should follow from them. The
    conclusion starts at the thought's last "so", "therefore", "thus" or "hence". Without one it is the thought's last
    sentence.
    """
    begin, end = text.find("<think>"), text.find("</think>")
    if begin < 0 or end < begin:
        return None
    begin += len("<think>")
    if words := list(_CONCLUDES.finditer(text, begin, end)):
        return words[-1].start()
    sentences = list(_SENTENCE_END.finditer(text, begin, end))
    ends = [match.end() for match in sentences if match.end() < end]
    return ends[-1] if ends else begin


def conclusion_token(builder: PromptBuilder, ids_C: Tensor, text: str) -> int | None:
    """The conclusion's first token in ids_C; None without a conclusion.

    `text` is the text of ids_C. The token is the first token that ends behind the conclusion's first character.
    """
    start = conclusion_start(text)
    if start is None:
        return None
    return bisect_right(range(len(ids_C)), start, key=lambda token: len(builder.decode(ids_C[: token + 1])))
