"""The chat template's text around a question."""

import re
from dataclasses import dataclass
from typing import Any

from stages.data.sample import DataType
from stages.model.chat_template import BadTemplate, render
from stages.model.family import Family
from stages.run.errors import UserError

_MARK = "\ue000"  # a character without meaning, in place of the question's text in the template
_OPENED = re.compile(r"<think>\s*\Z")


@dataclass(frozen=True)
class Turn:
    """The template's text before and after the question's text.

    `lead` and `tail` lie between the question and the nearest special token: a tokenizer splits them and the question
    as one text. GLM's `/nothink` is such a tail. `trims` says whether the template takes white space off the ends of
    the user's turn.
    """

    before: str
    lead: str
    tail: str
    after: str
    trims: bool

    @property
    def opened(self) -> str:
        """The start of a thought that begins the assistant's turn, or "".

        The model then goes on inside the thought: `<think>` is part of the prompt.
        """
        found = _OPENED.search(self.tail + self.after)
        return found[0] if found else ""

    def question(self, text: str, shown: DataType | None) -> str:
        """The question's text as the template writes it, between `lead` and `tail`."""
        if self.trims:
            text = text.rstrip() if shown else text.strip()
        return self.lead + text + self.tail


class Turns:
    """The turns of one tokenizer's template.

    There is one for a question with a video, one with an image, and one with neither.
    """

    def __init__(self, tokenizer: Any, family: Family) -> None:
        self._tokenizer, self._family = tokenizer, family
        self._turns: dict[DataType | None, Turn] = {}

    def of(self, shown: DataType | None) -> Turn:
        """The turn that shows such a medium.

        UserError for a template that does not show it.
        """
        if shown not in self._turns:
            self._turns[shown] = self._rendered(shown)
        return self._turns[shown]

    @property
    def opened(self) -> str:
        """The start of a thought that each assistant's turn has; see `Turn.opened`."""
        return self.of(None).opened if "<think>" in str(self._tokenizer.chat_template) else ""

    def _rendered(self, shown: DataType | None) -> Turn:
        content = [{"type": kind} for kind in [shown] if kind] + [{"type": "text", "text": f"{_MARK} "}]
        try:
            text = render(self._tokenizer, [{"role": "user", "content": content}])
        except BadTemplate as error:
            raise UserError(f"the model's chat template cannot be used: {error}") from None
        before, found, after = text.partition(_MARK)
        if not found or (shown and before.count(self._family.pads[shown]) != 1):
            raise UserError(f"the model's chat template does not show one {shown} and then a question's text")
        after, trims = after.removeprefix(" "), not after.startswith(" ")
        lead = max((end for _, end in self._added(before)), default=0)
        tail = min((start for start, _ in self._added(after)), default=len(after))
        return Turn(before[:lead], before[lead:], after[:tail], after[tail:], trims)

    def _added(self, text: str) -> list[tuple[int, int]]:
        """The places of special and other added tokens.

        A tokenizer splits what lies between two of them as one text.
        """
        tokens = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        places = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
        return [place for token, place in places if token in self._tokenizer.added_tokens_decoder]


def with_thinking(template: Any, enable_thinking: bool | None) -> Any:
    """The template with its `enable_thinking` set, whatever a caller passes.

    None leaves it to the template. What is no text stays as it is.
    """
    if enable_thinking is None or not isinstance(template, str):
        return template
    setting = f"{{%- set enable_thinking = {str(enable_thinking).lower()} -%}}\n"
    return template if template.startswith(setting) else setting + template
