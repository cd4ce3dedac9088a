"""The answers of one run: on disk, asked for now, or failed."""

import asyncio
from collections.abc import Sequence
from typing import cast

from stages.chat.annotation_rows import answer_row
from stages.chat.ledger import Ledger
from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.data.annotations import AnswerRow
from stages.data.journal import JournaledStore


class Answers:
    """Answers by the key of their request.

    None is asked for twice. `failures` says why a request of this run has no answer. The answers of an interrupted run
    count as spent by the run that finishes it.
    """

    def __init__(self, store: JournaledStore, ledger: Ledger) -> None:
        self._store = store
        self.ledger = ledger
        self.failures: dict[str, str] = {}
        for row in store.journaled():
            ledger.add(row["prompt_tokens"], row["completion_tokens"])

    def __contains__(self, key: str) -> bool:
        return key in self._store

    def read(self, key: str) -> AnswerRow:
        """The answer of a request; KeyError without one."""
        return cast(AnswerRow, self._store.read(key))

    async def keep(self, batch: Sequence[tuple[Request, Reply]]) -> list[AnswerRow]:
        """Write a batch's answers to disk, then count all of the batch.

        Returns the new answers.
        """
        answers = [answer_row(request, reply) for request, reply in batch if reply.status != "failed"]
        await asyncio.to_thread(self._store.add, answers)
        for request, reply in batch:
            if reply.status == "failed":
                self.failures[request.key] = reply.detail
        for request, reply in batch:
            self.ledger.settle(request, reply)
        return answers
