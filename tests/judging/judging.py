"""A judge on a real HTTP server, and a small benchmark for it."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.data.sample import ProblemType, Sample
from stages.evaluation.definition import Benchmark
from stages.evaluation.judgements import Judgement, JudgeRecord
from stages.evaluation.predictions import PredictionRow, prediction_row
from stages.judging.judge import judge_rows
from stages.judging.parameters import JudgeParams
from tests.evaluation.toy import toy_output
from tests.fault_server import Fault, FaultServer, completion, fault_server, raw

CODE = re.compile(r'"code": "([0-9a-f]{8})"')
DATA = re.compile(r'^{"question".*}$', re.MULTILINE)


def verdict(text: str, found: str, reason: str = "because") -> str:
    """What a good judge replies to the prompt `text`."""
    code = CODE.search(text)
    assert code
    return json.dumps({"code": code[1], "reason": reason, "verdict": found})


def data(text: str) -> dict[str, str]:
    """The fields that the prompt `text` shows the judge."""
    line = DATA.search(text)
    assert line
    return json.loads(line[0])


def same_words(text: str) -> str:
    """The verdict of a judge that compares the words of answer and reference."""
    fields = data(text)
    return (
        "correct" if set(fields["reference"].lower().split()) <= set(fields["answer"].lower().split()) else "incorrect"
    )


@contextmanager
def judge_server(
    find: Callable[[str], str] = same_words, fault: Callable[[str, int], Fault | None] = lambda text, attempt: None
) -> Iterator[FaultServer]:
    """A server whose verdicts `find` gives; `fault(text, attempt)` comes first."""

    def answer(text: str, attempt: int) -> Fault:
        return fault(text, attempt) or raw(completion(verdict(text, find(text))))

    with fault_server(answer) as server:
        yield server


def open_question(name: str, reference: str = "a pulley", problem_type: ProblemType = "free-form") -> Sample:
    return Sample(
        sample_id=name,
        source="toy",
        data_type="video",
        problem_type=problem_type,
        problem=f"What lifts the load in {name}?",
        answer=reference,
        media_path="m",
        media_sha256="0",
    )


def answered(sample: Sample, answer: str | None, benchmark: Benchmark) -> PredictionRow:
    """A prediction; None for an output without an answer."""
    text = "no tags" if answer is None else f"<think>t</think>\n<answer>{answer}</answer>"
    return prediction_row(sample, toy_output(sample.sample_id, text=text), benchmark)


def params(url: str, **changes: object) -> JudgeParams:
    values = {"base_url": url, "model": "judge", "concurrency": 2, "retries": 0, "timeout_s": 5.0, "answers": "archive"}
    return JudgeParams.model_validate(values | changes)


def judge(
    settings: JudgeParams,
    answers: dict[str, str | None],
    benchmark: Benchmark,
    samples: dict[str, Sample] | None = None,
) -> tuple[list[Judgement | None], list[float | None], JudgeRecord]:
    """Judgements and official scores of `answers`, by the names of their questions."""
    asked = samples or {name: open_question(name) for name in answers}
    rows = [answered(asked[name], answer, benchmark) for name, answer in answers.items()]
    judged, record = judge_rows(settings, rows, list(asked.values()), benchmark, 0, Path("judge"))
    return [row["judgement"] for row in judged], [row["official"] for row in judged], record
