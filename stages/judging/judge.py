"""Which answers a judge is asked about, and what its verdicts do."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from stages.chat.address import chat_url
from stages.chat.annotation_rows import annotation_row
from stages.chat.answers import Answers
from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.first_answers import FirstAnswers
from stages.chat.request import ChatSampling, Dialect, Request
from stages.data.annotations import ANSWER_SCHEMA
from stages.data.archive import Archive
from stages.data.journal import JournaledStore
from stages.data.sample import Sample
from stages.evaluation.definition import Benchmark, Judging
from stages.evaluation.judgements import Judgement, JudgeRecord, Verdict, agreement, decided
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import stratified_draw
from stages.judging.parameters import JudgeParams
from stages.judging.prompts import VERSION, judge_prompt, read_verdict
from stages.run.errors import EndpointError, UserError
from stages.run.progress import progress_bar

SECTION = "evaluate.judge"  # in messages


@dataclass(frozen=True)
class Case:
    """One answer before the judge; `decides` as in `Judgement`."""

    sample: Sample
    kind: Judging
    decides: bool
    answer: str


def judge_rows(
    params: JudgeParams,
    rows: Sequence[PredictionRow],
    samples: Sequence[Sample],
    benchmark: Benchmark,
    seed: int,
    place: Path,
) -> tuple[list[PredictionRow], JudgeRecord]:
    """The predictions with a judge's verdicts, and what the judge did.

    Where the judge decides, its verdict becomes the official score; the score of an unusable verdict is None. `seed`
    draws the checks. Replies go to a journal in `place` as they come, and to the archive `params.answers`: after a
    kill, none is paid for twice. EndpointError when too many requests failed, UserError when a limit stopped the run.
    """
    chat_url(params.base_url)  # refuses an address with a key, because the record shows the address
    by_name = {sample.sample_id: sample for sample in samples}
    cases = _cases(rows, by_name, benchmark, params.checks, seed)
    ledger = params.ledger(params.model, SECTION)
    archive = Archive(Path(params.answers), ANSWER_SCHEMA)
    with JournaledStore(place / "replies", place / "replies.jsonl", ANSWER_SCHEMA, archive=archive) as store:
        judge = Judge(params, Answers(store, ledger))
        judge.ask([case for case in cases if case and case.answer])
        judge.check()
        judged = [judge.row(row, case) for row, case in zip(rows, cases, strict=True)]
        record = judge.record(judged)
        store.merge(judge.keys)
    return judged, record


class Judge:
    """One judge and its replies."""

    def __init__(self, params: JudgeParams, answers: Answers) -> None:
        self._params = params
        self._answers = answers
        self._first = FirstAnswers(params.max_unreadable)
        self._dialect = Dialect.of(params)
        self.keys: dict[str, Case] = {}  # by request key: equal answers to one question share a verdict

    def ask(self, cases: Sequence[Case]) -> None:
        """Ask about the cases that have no reply on disk."""
        requests: dict[str, Request] = {}
        for case in cases:
            request = self._request(case)
            if request.key not in self.keys:
                self.keys[request.key] = case
                requests[request.key] = request
        waiting = [request for key, request in requests.items() if key not in self._answers]
        for key in [key for key in self.keys if key in self._answers]:
            self._look_at(key)
        if waiting:
            with progress_bar(total=len(waiting), unit="verdict") as bar:
                asyncio.run(self._ask(waiting, bar))

    def check(self) -> None:
        """UserError or EndpointError when the judge's replies are not enough."""
        if self._first.are_useless:
            raise UserError(
                f"judge: {self._first.message()}. Correct how it is asked ({SECTION}.model, max_tokens, extra_body) "
                f"and run again, or set {SECTION}.max_unreadable: 1.0 to go on"
            )
        failures, total = self._answers.failures, len(self.keys)
        if len(failures) > self._params.max_failed * total:
            [(detail, _)] = Counter(failures.values()).most_common(1)
            raise EndpointError(
                f"judge: {len(failures)} of {total} requests failed, more than {SECTION}.max_failed = "
                f"{self._params.max_failed:g}, most often with '{detail}'. Remove the cause and run again: replies are "
                "kept, only the rest is asked again"
            )
        replied = sum(key in self._answers or key in failures for key in self.keys)
        if replied < total:
            raise UserError(
                f"judge: stopped after {replied} of {total} replies and cost {self._answers.ledger.cost:.2f}: the next "
                f"request could exceed {SECTION}.max_cost = {self._params.max_cost} or max_tokens_total = "
                f"{self._params.max_tokens_total}. Raise them and run again: replies are kept"
            )

    def row(self, row: PredictionRow, case: Case | None) -> PredictionRow:
        """The prediction with its judgement; unchanged without a case for the judge."""
        if case is None:
            return row
        verdict = self._verdict(self._request(case).key, case) if case.answer else None
        found: Judgement = {
            "verdict": verdict.name if verdict else None,
            "reason": verdict.reason if verdict else "",
            "decides": case.decides,
            "by_rules": row["official"],
        }
        score = verdict.score if verdict else 0.0
        return {**row, "judgement": found, "official": score if case.decides else row["official"]}

    def record(self, rows: Sequence[PredictionRow]) -> JudgeRecord:
        """What the judge did in this evaluation."""
        judgements = [each for row in rows if (each := row["judgement"])]
        replies = [self._answers.read(key) for key in self.keys if key in self._answers]
        spent = self._params.ledger(self._params.model, SECTION)
        for reply in replies:
            spent.add(reply["prompt_tokens"], reply["completion_tokens"])
        return {
            "name": f"{self._params.model} at {self._params.base_url}, prompt {VERSION}",
            "model": self._params.model,
            "base_url": self._params.base_url,
            "prompt": VERSION,
            "decided": decided(judgements),
            "without_answer": sum(each["verdict"] is None for each in judgements),
            "checks": agreement([each for each in judgements if not each["decides"]]),
            "replaced": agreement([each for each in judgements if each["decides"]]),
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "cost": spent.cost,
        }

    async def _ask(self, requests: Sequence[Request], bar: "tqdm[object]") -> None:
        async with ChatClient(self._params) as client:
            batches = ask_all(client, requests, self._params.concurrency, self._admit, self._answers.ledger.admit_again)
            async with aclosing(batches):
                async for batch in batches:
                    for reply in await self._answers.keep(batch):
                        self._look_at(reply["key"])
                    bar.update(len(batch))
                    if len(self._answers.failures) > self._params.max_failed * len(self.keys):
                        return

    def _admit(self, request: Request) -> bool:
        return not self._first.are_useless and self._answers.ledger.admit(request)

    def _look_at(self, key: str) -> None:
        """Count one of the first replies as readable or not."""
        if self._first.are_wanted:
            row = annotation_row(f"reply {key[:8]}", self._answers.read(key))
            is_usable = self._verdict(key, self.keys[key]).score is not None
            row["status"] = (
                "ok" if is_usable else "malformed" if row["status"] in ("ok", "malformed") else row["status"]
            )
            self._first.add(row)

    def _verdict(self, key: str, case: Case) -> Verdict:
        """The verdict on a case by the present rules of reading."""
        if key in self._answers.failures:
            return Verdict("failed", self._answers.failures[key])
        reply = self._answers.read(key)
        if reply["status"] == "refused":
            return Verdict("refused", reply["detail"])
        if reply["status"] == "truncated":
            return Verdict("unreadable", f"reached {SECTION}.max_tokens = {self._params.max_tokens}")
        return read_verdict(case.kind, case.sample, case.answer, reply["text"])

    def _request(self, case: Case) -> Request:
        return Request(
            model=self._params.model,
            text=judge_prompt(case.kind, case.sample, case.answer),
            pictures=(),
            data_type="video",
            payload="images",
            sampling=ChatSampling(temperature=0.0, top_p=1.0, max_tokens=self._params.max_tokens),
            identity=VERSION,
            dialect=self._dialect,
        )


def _cases(
    rows: Sequence[PredictionRow], samples: Mapping[str, Sample], benchmark: Benchmark, checks: int, seed: int
) -> list[Case | None]:
    """What the judge has to do with each row; None for nothing."""
    cases = [_case(row, samples[row["sample_id"]], benchmark) for row in rows]
    checkable = [
        index
        for index, (row, case) in enumerate(zip(rows, cases, strict=True))
        if case and not case.decides and case.answer and row["order"] == "ordered"
    ]
    strata = [(rows[index]["category"], str(rows[index]["official"])) for index in checkable]
    drawn = {checkable[place] for place in stratified_draw(strata, checks, seed)} if checks else set[int]()
    return [case if case and (case.decides or index in drawn) else None for index, case in enumerate(cases)]


def _case(row: PredictionRow, sample: Sample, benchmark: Benchmark) -> Case | None:
    answer = row["prediction"] or ""
    kind = benchmark.judged(row["prediction"], sample) if row["status"] != "error" else None
    if kind == "check":
        return Case(sample, "answer", decides=False, answer=answer)
    return Case(sample, kind, decides=True, answer=answer) if kind else None
