"""A teacher writes chains of thought about the SFT set.

Every question is asked with its frames, and every answer is paid for once.

The paper asks Qwen2.5-VL-72B at temperature 1.0, top_p 0.95 and at most 512 new tokens (paper.md §4). Departures: `n`
allows several answers per question, and every answer is kept with its status, where the paper's code drops a batch.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stages.chat.annotation_parameters import AnnotateParams
from stages.chat.annotation_rows import annotation_row, failed_row
from stages.chat.annotation_summary import in_words, summarise
from stages.chat.answers import Answers
from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.first_answers import FirstAnswers
from stages.chat.parameters import Payload
from stages.chat.payload import choose_payload
from stages.chat.reply import Reply
from stages.chat.request import ChatSampling, Dialect, Request
from stages.data.annotations import ANNOTATION_SCHEMA, ANSWER_SCHEMA, AnnotationRow
from stages.data.archive import Archive
from stages.data.journal import JournaledStore
from stages.data.prompt import question_text
from stages.data.sample import Sample, read_samples
from stages.embedded.teacher import identity
from stages.embedded.teacher_server import embedded_teacher
from stages.handshake.asked import Asked
from stages.handshake.first_requests import LOOKED_AT, files_at_hand, shake_hands
from stages.run.command import command
from stages.run.errors import EndpointError, UserError
from stages.run.files import write_json, write_table
from stages.run.progress import progress_bar
from stages.run.work import WORK
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)


def run(
    params: AnnotateParams,
    samples: Path,
    frame_store: Path,
    frame_keys: Path,
    responses: Path,
    annotations: Path,
    metrics: Path,
    dry_run: bool = False,
) -> None:
    """Ask the teacher about every sample of the SFT set with frames.

    With --dry-run, only say what that would cost.
    `responses` keeps every answer by the key of the whole request, and so does the folder `annotate.answers`, which no
    `dvc checkout` and no `dvc gc` reaches. `annotations` holds the answers that this run uses, in sample order. Failed
    requests are not kept, so the next run asks them again.
    """
    ledger = params.ledger(params.model, "annotate")
    payload: Payload = "images" if params.embedded else choose_payload(params, WORK / "annotate" / "servers.json")
    reader = FrameReader(frame_store, frame_keys)
    with_frames = set(reader.sample_ids)
    wanted = [sample for sample in read_samples(samples) if sample.split in ("sft", "train")]
    asked = [sample for sample in wanted if sample.sample_id in with_frames]

    journal, archive = WORK / "annotate" / f"{responses.name}.jsonl", Archive(Path(params.answers), ANSWER_SCHEMA)
    with JournaledStore(responses, journal, ANSWER_SCHEMA, archive=archive) as store:
        job = Annotation(params, payload, Answers(store, ledger), asked)
        if dry_run:
            return job.estimate(reader)
        with progress_bar(total=len(asked) * params.n, unit="request") as bar, _endpoint(params) as base_url:
            asyncio.run(job.ask(reader, base_url, bar))
        write_table(annotations, job.rows(), ANNOTATION_SCHEMA)
        job.check(annotations)
        store.merge(key for _, key in job.keys)
    counts = summarise(annotations, asked, len(wanted) - len(asked), params.prices.get(params.model))
    write_json(metrics, counts)
    log.info("%s → %s", in_words(counts), annotations)


class Annotation:
    """One pass over the samples: stored answers are used, others asked for."""

    def __init__(self, params: AnnotateParams, payload: Payload, answers: Answers, samples: Sequence[Sample]) -> None:
        self._params = params
        self._payload: Payload = payload
        self._answers = answers
        self._samples = samples
        self._identity = identity(params.careless, params.seed) if params.embedded else ""
        self._dialect = Dialect.of(params)
        self._first = FirstAnswers(params.max_unusable)
        self._ledger = answers.ledger
        self.keys: list[tuple[str, str]] = []  # (sample_id, request key) of every request so far, in sample order

    def unanswered(self, reader: FrameReader, bar: "tqdm[Any] | None" = None) -> Iterator[Request]:
        """Requests without an answer yet, in sample order, each distinct one once."""
        seen: set[str] = set()
        for sample in self._samples:
            for index in range(self._params.n):
                request = self._request(sample, reader, index)
                self.keys.append((sample.sample_id, request.key))
                if request.key not in self._answers and request.key not in seen:
                    seen.add(request.key)
                    yield request
                    continue
                if request.key in self._answers and self._first.are_wanted:
                    self._first.add(self._annotation_row(sample.sample_id, request.key))
                if bar is not None:
                    bar.update()

    async def ask(self, reader: FrameReader, base_url: str, bar: "tqdm[Any]") -> None:
        """Ask until all is answered, or a limit stops it.

        An answer counts once it is on disk.
        """
        params = self._params.model_copy(update={"base_url": base_url})
        async with ChatClient(params) as client:
            requests = await self._after_handshake(client, self.unanswered(reader, bar), reader)
            batches = ask_all(client, requests, params.concurrency, self._admit, self._ledger.admit_again)
            async with aclosing(batches):
                async for batch in batches:
                    await self._keep(batch)
                    bar.set_postfix_str(f"{self._ledger.tokens:,} tokens, cost {self._ledger.cost:.2f}", refresh=False)
                    bar.update(len(batch))
                    if self._too_many_failed():
                        return

    async def _after_handshake(
        self, client: ChatClient, requests: Iterator[Request], reader: FrameReader
    ) -> Iterator[Request]:
        """The requests, after a handshake about the first of them."""
        p, ledger = self._params, self._ledger
        if p.embedded or not files_at_hand(p) or not (first := list(islice(requests, LOOKED_AT))):
            return requests
        names, samples = {key: name for name, key in self.keys}, {each.sample_id: each for each in self._samples}
        asked = [Asked.in_order(samples[names[each.key]], each, reader) for each in first]
        await shake_hands(client, p, p.style, asked, ledger.admit, ledger.admit_again, ledger.settle)
        return chain(first, requests)

    def rows(self) -> Iterator[AnnotationRow]:
        """The table of answers and failures, in sample order."""
        return (
            self._annotation_row(sample_id, key)
            for sample_id, key in self.keys
            if key in self._answers or key in self._answers.failures
        )

    def check(self, annotations: Path) -> None:
        """UserError when the run stopped early, EndpointError when too many requests failed."""
        total = len(self._samples) * self._params.n
        if self._first.are_useless:
            raise UserError(
                f"{self._first.message()}; all are in {annotations}. Correct what the teacher is asked "
                "(annotate.prompt, max_tokens, extra_body) and run again, or set annotate.max_unusable: 1.0 to go on"
            )
        if self._too_many_failed():
            [(detail, _)] = Counter(self._answers.failures.values()).most_common(1)
            raise EndpointError(
                f"{len(self._answers.failures)} of {total} requests failed, more than annotate.max_failed = "
                f"{self._params.max_failed:g}, most often with '{detail}'; all reasons are in {annotations}. "
                "Remove the cause and run again: answers are kept, only the rest is asked again"
            )
        answered = sum(key in self._answers or key in self._answers.failures for _, key in self.keys)
        if answered < total:
            raise UserError(
                f"stopped with {answered} of {total} requests answered, {self._ledger.tokens:,} tokens and cost "
                f"{self._ledger.cost:.2f} spent: the next request could exceed max_cost = {self._params.max_cost} or "
                f"max_tokens_total = {self._params.max_tokens_total}. Raise them and run again: answers are kept"
            )

    def estimate(self, reader: FrameReader) -> None:
        """Log what asking the rest would take at most, without asking."""
        requests = prompt = 0
        for request in self.unanswered(reader):
            requests += 1
            prompt += request.prompt_estimate
        completion = requests * self._params.max_tokens
        self._ledger.add(prompt, completion)
        log.info(
            "dry run: %d of %d requests have no answer yet; about %s prompt tokens and at most %s completion tokens; "
            "with what an interrupted run has spent, at most %s tokens and cost %.2f",
            *(requests, len(self.keys), f"{prompt:,}", f"{completion:,}"),
            *(f"{self._ledger.tokens:,}", self._ledger.cost),
        )

    def _admit(self, request: Request) -> bool:
        """Whether one more request may be sent.

        Those in flight are still waited for.
        """
        return not self._first.are_useless and self._ledger.admit(request)

    async def _keep(self, batch: Sequence[tuple[Request, Reply]]) -> None:
        """Keep the batch's answers, and look at the first ones."""
        answers = await self._answers.keep(batch)
        for answer in answers if self._first.are_wanted else ():
            self._first.add(annotation_row(f"answer {answer['key'][:8]}", answer))

    def _request(self, sample: Sample, reader: FrameReader, index: int) -> Request:
        p = self._params
        needs_times = self._payload == "video" or p.frame_times == "text"
        return Request(
            model=p.model,
            text=question_text(sample, p.style),
            pictures=tuple(reader.pictures(sample.sample_id)),
            data_type=sample.data_type,
            payload=self._payload,
            sampling=ChatSampling(p.temperature, p.top_p, p.max_tokens, p.seed + index),
            identity=self._identity,
            times=tuple(reader.times(sample.sample_id)) if needs_times else (),
            frame_times=p.frame_times,
            dialect=self._dialect,
        )

    def _annotation_row(self, sample_id: str, key: str) -> AnnotationRow:
        if key in self._answers.failures:
            return failed_row(sample_id, key, self._answers.failures[key])
        return annotation_row(sample_id, self._answers.read(key))

    def _too_many_failed(self) -> bool:
        return len(self._answers.failures) > self._params.max_failed * len(self._samples) * self._params.n


def _endpoint(params: AnnotateParams) -> AbstractContextManager[str]:
    """The server's address; the embedded teacher runs as long as the context."""
    return embedded_teacher(params.careless, params.seed) if params.embedded else nullcontext(params.base_url)


if __name__ == "__main__":
    command(run)
