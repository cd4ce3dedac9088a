"""A model's output: its answer, and whether it is well formed.

All functions take time in proportion to the length of the output.
"""

import re
from typing import Literal

from stages.data.prompt import TAGS

Strictness = Literal["default", "reference-code"]
"""`default`: this project's grading. `reference-code`: that of the paper's released code."""

_BETWEEN = re.compile(r"</think>\s*<answer>")
_BOX = re.compile(r"<\|(?:begin|end)_of_box\|>")  # GLM-V writes them around what it answers


def extract_answer(text: str, strictness: Strictness = "default") -> str | None:
    """The text inside the last closed `<answer>` tag, or None.

    The reference code takes the first tag, and "" without one. White space around the answer is removed.
    """
    if strictness == "reference-code":
        start = text.find("<answer>")
        end = text.find("</answer>", start)
        return "" if start < 0 or end < 0 else text[start + len("<answer>") : end].strip()
    last_close = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(0, last_close))
    return None if start < 0 else _BOX.sub("", text[start + len("<answer>") : text.find("</answer>", start)]).strip()


def is_well_formed(text: str, strictness: Strictness = "default") -> bool:
    """Whether the whole output is `<think>…</think><answer>…</answer>` (paper, §2).

    Each tag occurs once, and white space may follow. The reference code accepts further tags inside the thought or
    the answer, and no white space after it.
    """
    text = text if strictness == "reference-code" else text.rstrip()
    inner_end = len(text) - len("</answer>")
    framed = text.startswith("<think>") and text.endswith("</answer>")
    if not framed or not _BETWEEN.search(text, len("<think>"), max(0, inner_end)):
        return False
    return strictness == "reference-code" or all(text.count(tag) == 1 for tag in TAGS)
