"""A server held against the model in a folder."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.data.prompt import PromptStyle
from stages.handshake import counts, scores
from stages.handshake.asked import Asked
from stages.handshake.counts import Counts
from stages.model.inputs import PromptBuilder
from stages.model.load import resolve

log = logging.getLogger(__name__)

CLIPS, PICTURES = 8, 1
"""Most questions of each kind to compare."""

Ask = Callable[[Sequence[Request]], Awaitable[list[tuple[Request, Reply]]]]
"""Asks a server; gives each request with its reply."""


class ServedModel:
    """A server, and the folder of the model that it should serve.

    The prompts of a few questions must have equally many tokens in both places, and the first tokens of their answers
    the same log-probabilities, where the folder holds the weights.
    """

    def __init__(self, folder: Path, prompt: PromptStyle, ask: Ask) -> None:
        """UserError when the folder holds no model of a known family."""
        self._folder = resolve(folder).folder
        self._builder = PromptBuilder(folder, prompt)
        self._ask = ask

    async def difference(self, asked: Sequence[Asked]) -> str:
        """What differs and what to set, "" where nothing does."""
        if no_weights := scores.why_no_weights(self._folder):
            log.info("handshake: no log-probabilities are compared, because %s", no_weights)
        probes = {probe.key: (each, probe) for each in asked if (probe := each.probe(logprobs=not no_weights))}
        replies = await self._ask([probe for _, probe in probes.values()])
        answered = [(probes[probe.key][0], reply) for probe, reply in replies if reply.prompt_tokens]
        if not answered:
            log.info("handshake: not possible, because the server sent no count of tokens")
            return ""
        for each, reply in answered:
            ours = counts.prompt_tokens(self._builder, each)
            if reply.prompt_tokens != ours:
                return await self._difference_of_counts(each, reply.prompt_tokens, ours)
        log.info("handshake: %d prompts have as many tokens on the server as here", len(answered))
        return "" if no_weights else scores.difference(self._folder, self._builder, answered)

    async def _difference_of_counts(self, asked: Asked, theirs: int, ours: int) -> str:
        alone = asked.without_frames()
        text = counts.request_tokens(self._builder, alone)
        text_there = [reply.prompt_tokens for _, reply in await self._ask([alone]) if reply.prompt_tokens]
        theirs_in_parts = Counts(theirs, text_there[0] if text_there else text)
        return counts.difference(self._folder, self._builder, asked, theirs_in_parts, Counts(ours, text))


def chosen(asked: Iterable[Asked]) -> list[Asked]:
    """A few different questions with frames, clips first."""
    different = list({each.request.key: each for each in asked if each.request.pictures}.values())
    clips = [each for each in different if each.sample.data_type == "video"]
    pictures = [each for each in different if each.sample.data_type == "image"]
    return clips[:CLIPS] + pictures[:PICTURES]
