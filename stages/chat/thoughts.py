"""One thought and one answer from what a thinking model sends."""

import re

from stages.data.grading import is_well_formed

_NO_TAG = r"(?:(?!</?think>|</?answer>).)*"
_THOUGHT = re.compile(rf"\s*<think>({_NO_TAG})</think>", re.DOTALL)
_OPENED_BY_PROMPT = re.compile(rf"({_NO_TAG})</think>", re.DOTALL)
_ANSWER = re.compile(rf"({_NO_TAG})<answer>({_NO_TAG})</answer>\s*", re.DOTALL)
_TAG = re.compile(r"</?(?:think|answer)>")


def joined(text: str, reasoning: str) -> str:
    """`<think>…</think>` and `<answer>…</answer>`; `text` itself where they cannot be told apart.

    Read are a thought that the server sent apart as `reasoning`, with or without the text; a thought whose opening tag
    stood in the prompt; an empty thought before the real one; and white space around all of it. Several thoughts become
    one. Beside `reasoning`, text without tags is the answer.
    """
    apart = reasoning.strip()
    if not apart and is_well_formed(text):
        return text
    thoughts, rest = _split(text if text.strip() else reasoning)
    if apart and text.strip():
        thoughts.insert(0, apart.removeprefix("<think>").removesuffix("</think>"))
        if not _TAG.search(rest):
            rest = f"<answer>{rest.strip()}</answer>"
    answer = _ANSWER.fullmatch(rest)
    if answer is None:
        return text
    if apart:
        thoughts.append(answer[1])  # a sentence that leads to the answer
    elif answer[1].strip() or not thoughts:
        return text
    thought = "\n\n".join(each.strip() for each in thoughts if each.strip())
    return text if _TAG.search(thought) else f"<think>{thought}</think>\n<answer>{answer[2]}</answer>"


def _split(text: str) -> tuple[list[str], str]:
    """The tagged thoughts at the start of a text, and the rest."""
    thoughts: list[str] = []
    match = _OPENED_BY_PROMPT.match(text) or _THOUGHT.match(text)
    while match:
        thoughts.append(match[1])
        text = text[match.end() :]
        match = _THOUGHT.match(text)
    return thoughts, text
