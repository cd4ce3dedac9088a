"""The conclusion of a response, and the frames that it names."""

import re
from typing import NamedTuple

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
