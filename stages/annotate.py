"""A teacher writes chains of thought: every question of the SFT set is asked with its frames, every answer is kept and paid for once.

The paper asks Qwen2.5-VL-72B at temperature 1.0, top_p 0.95 and at most 512 new tokens (paper.md §4). Departures: several answers per
question (`n`) are possible, and an answer is kept with its status instead of being dropped with its batch.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field
from tqdm import tqdm

from stages.chat.client import ChatClient, ChatParams, ChatSampling, Reply, Request, ask_all
from stages.data.annotations import ANNOTATION_SCHEMA
from stages.data.grading import is_well_formed
from stages.data.journal import JournaledStore
from stages.data.prompt import PromptStyle, question_text
from stages.data.sample import Sample, read_samples
from stages.embedded.teacher import embedded_teacher, identity
from stages.run.command import command
from stages.run.errors import EndpointError, UserError
from stages.run.files import iterate_rows, write_json, write_table
from stages.run.params import Params
from stages.run.progress import progress_bar
from stages.run.work import WORK
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

STORE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("model", pa.string()),
        ("status", pa.string()),
        ("detail", pa.string()),
        ("text", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)
STATUSES = ("ok", "malformed", "truncated", "refused", "failed")


class Price(Params):
    """Money per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class AnnotateParams(ChatParams):
    base_url: str = Field(
        default="embedded", description='address of the server, or "embedded" for the teacher that comes along'
    )
    model: str = Field(default="embedded-teacher", description="name of the model on that server")
    prompt: PromptStyle | None = Field(
        default=None, description='null: "plain" for the embedded teacher, "video-r1" for any other'
    )
    n: int = Field(default=1, ge=1, description="answers per question")
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    seed: int = Field(
        default=0, ge=0, description="sent with each request; answer i of a question is asked with seed + i"
    )
    careless: float = Field(
        default=0.84, ge=0, le=1, description="embedded teacher: share of careless thoughts about temporal questions"
    )
    prices: dict[str, Price] = Field(default={}, description="by model name; a model without one is free")
    max_cost: float | None = Field(
        default=None, ge=0, description="stop before one annotation run, resumed or not, costs more"
    )
    max_tokens_total: int | None = Field(default=None, ge=0, description="stop before it uses more tokens")
    max_failed: float = Field(default=0.02, ge=0, le=1, description="stop when a larger share of the requests fails")

    @property
    def embedded(self) -> bool:
        return self.base_url == "embedded"

    @property
    def style(self) -> PromptStyle:
        return self.prompt or ("plain" if self.embedded else "video-r1")


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
    """Ask the teacher about every sample of the SFT set that has frames; with --dry-run only say what that would cost.

    Answers are kept in `responses` for good, keyed by the whole request; `annotations` holds those that this run uses, in sample order.
    Failed requests are not kept, so the next run asks them again.
    """
    if params.max_cost is not None and params.model not in params.prices:
        raise UserError(
            f"annotate.max_cost is set but annotate.prices has no '{params.model}'; add its price per million tokens"
        )
    reader = FrameReader(frame_store, frame_keys)
    with_frames = set(reader.sample_ids)
    wanted = [sample for sample in read_samples(samples) if sample.split in ("sft", "train")]
    asked = [sample for sample in wanted if sample.sample_id in with_frames]

    with JournaledStore(responses, WORK / "annotate" / f"{responses.name}.jsonl", STORE_SCHEMA) as store:
        job = Annotation(params, store, asked)
        if dry_run:
            return job.estimate(reader)
        with progress_bar(total=len(asked) * params.n, unit="request") as bar, _endpoint(params) as base_url:
            asyncio.run(job.ask(reader, base_url, bar))
        write_table(annotations, job.rows(), ANNOTATION_SCHEMA)
        job.check(annotations)
        store.merge(key for _, key in job.keys)
        without_words = [name for name in ANNOTATION_SCHEMA.names if name not in ("text", "detail")]
        counts = summary(list(iterate_rows(annotations, without_words)), asked, len(wanted) - len(asked), params)
        write_json(metrics, counts)
        statuses = ", ".join(f"{count} {status}" for status, count in counts["status"].items() if count)
        tokens = counts["prompt_tokens"] + counts["completion_tokens"]
        log.info(
            "%d samples: %s; %s tokens, cost %.2f → %s",
            len(asked),
            statuses,
            f"{tokens:,}",
            counts["cost"],
            annotations,
        )


class Ledger:
    """Tokens and money spent by one annotation run, held against its limits.

    A request is let through only when it fits in even if it uses all of max_tokens. Its prompt is estimated, so under a limit the first
    request goes alone and its real count corrects the others. An attempt that came to nothing (time-out, broken connection) counts as its
    worst case, and is not repeated when another one does not fit in.
    """

    def __init__(self, params: AnnotateParams) -> None:
        self._params = params
        self._limited = params.max_cost is not None or params.max_tokens_total is not None
        self._price = params.prices.get(params.model, Price(prompt=0, completion=0))
        self._reserved: dict[str, tuple[int, int]] = {}
        self._scale = 0.0  # largest real / estimated prompt so far, at least 1 once known
        self._counted = self._lost = self.completion_tokens = (
            0  # prompt tokens: counted by the server, estimated of lost attempts
        )

    @property
    def prompt_tokens(self) -> int:
        return self._counted + round(self._lost * max(1.0, self._scale))

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        return self._cost(self.prompt_tokens, self.completion_tokens)

    def admit(self, request: Request) -> bool:
        """Reserve the request's worst case; False when it does not fit, or not yet."""
        if self._limited and not self._scale and self._reserved:
            return False
        held = [*self._reserved.values(), self._worst(request)]
        prompt = self.prompt_tokens + sum(prompt for prompt, _ in held)
        completion = self.completion_tokens + sum(completion for _, completion in held)
        if self._params.max_cost is not None and self._cost(prompt, completion) > self._params.max_cost:
            return False
        if self._params.max_tokens_total is not None and prompt + completion > self._params.max_tokens_total:
            return False
        self._reserved[request.key] = self._worst(request)
        return True

    def settle(self, request: Request, reply: Reply) -> None:
        """Replace the reservation by what was used. UserError when a limit cannot be kept because the server does not say."""
        self._reserved.pop(request.key, None)
        self.add(reply.prompt_tokens, reply.completion_tokens)
        if reply.prompt_tokens:
            self._scale = max(1.0, self._scale, reply.prompt_tokens / request.prompt_estimate)
        elif self._limited and reply.status in ("ok", "truncated"):
            raise UserError(
                "the server does not say how many tokens an answer took: annotate.max_cost and max_tokens_total must be null"
            )

    def again(self, request: Request) -> bool:
        """Count an attempt that was lost, and admit another one."""
        del self._reserved[request.key]
        self._lost += request.prompt_estimate
        self.completion_tokens += request.sampling.max_tokens
        return self.admit(request)

    def add(self, prompt_tokens: int, completion_tokens: int) -> None:
        self._counted += prompt_tokens
        self.completion_tokens += completion_tokens

    def _worst(self, request: Request) -> tuple[int, int]:
        return round(request.prompt_estimate * max(1.0, self._scale)), request.sampling.max_tokens

    def _cost(self, prompt: int, completion: int) -> float:
        return (prompt * self._price.prompt + completion * self._price.completion) / 1e6


class Annotation:
    """One walk over the samples: what is answered already is taken from the store, the rest is asked."""

    def __init__(self, params: AnnotateParams, store: JournaledStore, samples: Sequence[Sample]) -> None:
        self._params = params
        self._store = store
        self._samples = samples
        self._identity = identity(params.careless, params.seed) if params.embedded else ""
        self._failures: dict[str, str] = {}  # request key → why
        self._ledger = Ledger(params)
        for row in store.journaled():  # an interrupted run's answers belong to the run that finishes it
            self._ledger.add(row["prompt_tokens"], row["completion_tokens"])
        self.keys: list[tuple[str, str]] = []  # (sample_id, request key) of every request walked over, in sample order

    def unanswered(self, reader: FrameReader, bar: "tqdm[Any] | None" = None) -> Iterator[Request]:
        """Requests without an answer yet, in sample order, each distinct one once."""
        seen: set[str] = set()
        for sample in self._samples:
            for index in range(self._params.n):
                request = self._request(sample, reader.pictures(sample.sample_id), index)
                self.keys.append((sample.sample_id, request.key))
                if request.key not in self._store and request.key not in seen:
                    seen.add(request.key)
                    yield request
                elif bar is not None:
                    bar.update()

    async def ask(self, reader: FrameReader, base_url: str, bar: "tqdm[Any]") -> None:
        """Ask until all is answered, a limit is reached or too much fails. Answers are on disk before they count."""
        params = self._params.model_copy(update={"base_url": base_url})
        async with ChatClient(params) as client:
            batches = ask_all(
                client, self.unanswered(reader, bar), params.concurrency, self._ledger.admit, self._ledger.again
            )
            async with aclosing(batches):
                async for batch in batches:
                    answers = [(request, reply) for request, reply in batch if reply.status != "failed"]
                    await asyncio.to_thread(self._store.add, [self._row(request, reply) for request, reply in answers])
                    self._failures |= {
                        request.key: reply.detail for request, reply in batch if reply.status == "failed"
                    }
                    for request, reply in batch:
                        self._ledger.settle(request, reply)
                    bar.set_postfix_str(f"{self._ledger.tokens:,} tokens, cost {self._ledger.cost:.2f}", refresh=False)
                    bar.update(len(batch))
                    if self._too_many_failed():
                        return

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table of answers and failures, in sample order."""
        return (
            self._table_row(sample_id, key)
            for sample_id, key in self.keys
            if key in self._store or key in self._failures
        )

    def check(self, annotations: Path) -> None:
        """UserError when the run stopped early, EndpointError when requests failed."""
        total = len(self._samples) * self._params.n
        if self._too_many_failed():
            [(detail, _)] = Counter(self._failures.values()).most_common(1)
            raise EndpointError(
                f"{len(self._failures)} of {total} requests failed, more than annotate.max_failed = {self._params.max_failed:g}, most "
                f"often with '{detail}'; all reasons are in {annotations}; mend the cause and run again: what was answered is kept, the "
                "rest is asked anew"
            )
        answered = sum(key in self._store or key in self._failures for _, key in self.keys)
        if answered < total:
            raise UserError(
                f"stopped with {answered} of {total} requests answered, {self._ledger.tokens:,} tokens and cost {self._ledger.cost:.2f} "
                f"spent: the next could exceed max_cost = {self._params.max_cost} or max_tokens_total = {self._params.max_tokens_total}; "
                "raise them and run again, what was answered is kept"
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
            "dry run: %d of %d requests are not answered yet; about %s prompt tokens and at most %s completion tokens; with what was "
            "spent already at most %s tokens and cost %.2f",
            *(
                requests,
                len(self.keys),
                f"{prompt:,}",
                f"{completion:,}",
                f"{self._ledger.tokens:,}",
                self._ledger.cost,
            ),
        )

    def _request(self, sample: Sample, pictures: Sequence[bytes], index: int) -> Request:
        p = self._params
        return Request(
            model=p.model,
            text=question_text(sample, p.style),
            pictures=tuple(pictures),
            data_type=sample.data_type,
            payload=p.payload,
            sampling=ChatSampling(p.temperature, p.top_p, p.max_tokens, p.seed + index),
            identity=self._identity,
        )

    def _row(self, request: Request, reply: Reply) -> dict[str, Any]:
        reply_fields = {name: getattr(reply, name) for name in STORE_SCHEMA.names[2:]}
        return {"key": request.key, "model": request.model, **reply_fields}

    def _table_row(self, sample_id: str, key: str) -> dict[str, Any]:
        if key in self._failures:
            answer = {
                "status": "failed",
                "detail": self._failures[key],
                "text": "",
                "prompt_tokens": 0,
                "completion_tokens": 0,
            }
        else:
            answer = {name: value for name, value in self._store.read(key).items() if name in ANNOTATION_SCHEMA.names}
        if answer["status"] == "ok" and not is_well_formed(answer["text"]):
            answer |= {"status": "malformed", "detail": "not exactly <think>…</think><answer>…</answer>"}
        return {"sample_id": sample_id, "request_key": key, **answer}

    def _too_many_failed(self) -> bool:
        return len(self._failures) > self._params.max_failed * len(self._samples) * self._params.n


def summary(
    rows: Sequence[dict[str, Any]], samples: Sequence[Sample], without_frames: int, params: AnnotateParams
) -> dict[str, Any]:
    """Metrics of the whole table, asked now or before: statuses, also by problem type, tokens and what the answers cost."""
    types = {sample.sample_id: sample.problem_type for sample in samples}
    statuses = Counter(row["status"] for row in rows)
    by_type = {
        kind: Counter(row["status"] for row in rows if types[row["sample_id"]] == kind)
        for kind in sorted(set(types.values()))
    }
    answers = {row["request_key"]: row for row in rows}.values()
    ledger = Ledger(params)
    for row in answers:
        ledger.add(row["prompt_tokens"], row["completion_tokens"])
    return {
        "samples": len(samples),
        "samples_without_frames": without_frames,
        "requests": len(answers),
        "status": {status: statuses[status] for status in STATUSES},
        "by_type": {kind: {status: count[status] for status in STATUSES} for kind, count in by_type.items()},
        "prompt_tokens": ledger.prompt_tokens,
        "completion_tokens": ledger.completion_tokens,
        "cost": ledger.cost,
    }


def _endpoint(params: AnnotateParams) -> AbstractContextManager[str]:
    """The server's address; the embedded teacher runs as long as the context."""
    return embedded_teacher(params.careless, params.seed) if params.embedded else nullcontext(params.base_url)


if __name__ == "__main__":
    command(run)
