"""A judge against a real server: who is asked, what counts, what is paid."""

from pathlib import Path

import pytest

from stages.data.sample import Sample
from stages.evaluation.benchmarks import mmvu, videommmu
from stages.evaluation.definition import Benchmark
from stages.run.errors import EndpointError, UserError
from tests.evaluation.toy import toy_sample
from tests.fault_server import completion, raw
from tests.judging.judging import data, judge, judge_server, open_question, params

MMVU: Benchmark = mmvu.BENCHMARK
VIDEOMMMU: Benchmark = videommmu.BENCHMARK


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_verdict_is_the_official_score_of_an_open_question_and_no_answer_scores_0_unasked() -> None:
    answers = {"q1": "it is a pulley", "q2": "a lever", "q3": None}
    with judge_server() as server:
        judgements, scores, record = judge(params(server.url), answers, MMVU)
    assert scores == [1.0, 0.0, 0.0]
    assert [each and each["verdict"] for each in judgements] == ["correct", "incorrect", None]
    assert judgements[0] == {"verdict": "correct", "reason": "because", "decides": True, "by_rules": None}
    assert record["decided"] == {"correct": 1, "incorrect": 1, "unreadable": 0, "refused": 0, "failed": 0}
    assert (record["without_answer"], record["checks"], record["replaced"]) == (1, None, None)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (200, 40)
    assert len(server.calls) == 2


def test_a_judge_sees_question_reference_and_answer_as_text_alone_at_temperature_0() -> None:
    with judge_server() as server:
        judge(params(server.url, extra_body={"top_k": 1}), {"q1": 'a "pulley"\n{"x": 1}'}, MMVU)
    [call] = server.calls
    assert call.body["messages"] == [{"role": "user", "content": call.text}]
    assert (call.body["temperature"], call.body["top_k"], call.seed) == (0.0, 1, None)
    assert data(call.text) == {
        "question": "What lifts the load in q1?",
        "reference": "a pulley",
        "answer": 'a "pulley"\n{"x": 1}',
    }


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-of-the-judge")
    with judge_server() as server:
        _, _, record = judge(params(server.url, api_key_env="JUDGE_KEY"), {"q1": "a pulley"}, MMVU)
    assert server.calls[0].authorization == "Bearer secret-of-the-judge"
    assert "secret" not in str(record) + "".join(str(path.read_bytes()) for path in Path().rglob("*") if path.is_file())


def test_an_address_with_a_key_is_refused_also_where_every_reply_is_on_disk() -> None:
    """The record shows the address."""
    with judge_server() as server:
        judge(params(server.url), {"q1": "a pulley"}, MMVU)
        secret = server.url.replace("//", "//user:secret@")
        with pytest.raises(UserError, match=r"base_url holds a user name or a password"):
            judge(params(secret), {"q1": "a pulley"}, MMVU)


def test_no_verdict_is_paid_for_twice_also_by_another_model_or_run() -> None:
    with judge_server() as server:
        judge(params(server.url), {"q1": "a pulley", "q2": "a lever"}, MMVU)
        judge(params(server.url), {"q1": "a pulley", "q2": "a rope"}, MMVU)
        assert len(server.calls) == 3  # "a rope" is new
        judge(params(server.url, model="another"), {"q1": "a pulley"}, MMVU)
        assert len(server.calls) == 4


def test_another_prompt_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server() as server:
        judge(params(server.url), {"q1": "a pulley"}, MMVU)
        monkeypatch.setattr("stages.judging.judge.VERSION", "judge-0")
        judge(params(server.url), {"q1": "a pulley"}, MMVU)
    assert len(server.calls) == 2


def test_an_unusable_reply_is_a_counted_row_with_a_reason_and_no_score() -> None:
    replies = {
        "q1": raw(completion("It is correct.")),
        "q2": raw(completion('{"code": "', "length")),
        "q3": raw(completion(None, "content_filter")),
        "q4": raw({"error": {"message": "no"}}, 400),
    }
    fault = lambda text, attempt: replies.get(data(text)["question"].rpartition(" ")[2].rstrip("?"))  # noqa: E731
    with judge_server(fault=fault) as server:
        answers: dict[str, str | None] = dict.fromkeys(["q1", "q2", "q3", "q4", "q5"], "a pulley")
        judgements, scores, record = judge(params(server.url, max_failed=0.5), answers, MMVU)
    assert scores == [None, None, None, None, 1.0]
    assert record["decided"] == {"correct": 1, "incorrect": 0, "unreadable": 2, "refused": 1, "failed": 1}
    assert [each and each["reason"] for each in judgements] == [
        "not one JSON object: It is correct.",
        "reached evaluate.judge.max_tokens = 512",
        "content_filter",
        'HTTP 400: {"error": {"message": "no"}}',
        "because",
    ]


def test_a_judge_that_dies_loses_nothing() -> None:
    answers: dict[str, str | None] = {f"q{number}": "a pulley" for number in range(20)}
    seen = 0

    def dying(text: str, attempt: int) -> str | None:
        nonlocal seen
        seen += 1
        return "400" if seen > 9 else None

    with judge_server(fault=dying) as server, pytest.raises(EndpointError, match=r"of 20 requests failed"):
        judge(params(server.url, concurrency=1), answers, MMVU)
    with judge_server() as server:
        _, scores, _ = judge(params(server.url), answers, MMVU)
    assert scores == [1.0] * 20
    assert len(server.calls) == 20 - 9


def test_a_judge_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(EndpointError, match=r"no server answers at http://127.0.0.1:9/v1"):
        judge(params("http://127.0.0.1:9/v1"), {"q1": "a pulley"}, MMVU)


def test_a_judge_that_never_gives_a_verdict_is_stopped_after_the_first_replies() -> None:
    answers: dict[str, str | None] = {f"q{number}": "a pulley" for number in range(80)}
    with judge_server(fault=lambda text, attempt: raw(completion("Hm."))) as server:
        with pytest.raises(UserError, match=r"32 of the first 32 answers are of no use.*evaluate.judge.max_unreadable"):
            judge(params(server.url), answers, MMVU)
        assert len(server.calls) < 40


def test_a_limit_on_money_stops_the_judge_before_it_is_exceeded() -> None:
    answers: dict[str, str | None] = {f"q{number}": "a pulley" for number in range(9)}
    prices = {"judge": {"prompt": 1000.0, "completion": 0.0}}
    with judge_server() as server:
        with pytest.raises(UserError, match=r"evaluate.judge.prices has no 'judge'"):
            judge(params(server.url, max_cost=1.0), answers, MMVU)
        with pytest.raises(UserError, match=r"judge: stopped after [1-5] of 9 replies"):
            judge(params(server.url, max_cost=0.6, prices=prices), answers, MMVU)


def test_the_judge_is_measured_on_answers_that_the_rules_score_and_does_not_change_these() -> None:
    samples: dict[str, Sample] = {f"c{number}": toy_sample(f"c{number}") for number in range(8)}
    samples["q1"] = open_question("q1")
    answers: dict[str, str | None] = {name: "B" if number % 2 else "A" for number, name in enumerate(samples)}
    with judge_server(lambda text: "correct") as server:
        judgements, scores, record = judge(params(server.url), answers, MMVU, samples)
        assert scores == [0, 1, 0, 1, 0, 1, 0, 1, 1]
        assert [each and (each["decides"], each["by_rules"]) for each in judgements][:2] == [(False, 0), (False, 1)]
        checks = record["checks"]
        assert checks
        assert (checks["n"], checks["value"], checks["kappa"]) == (8, 0.5, 0)
        assert (checks["both_right"], checks["both_wrong"], checks["only_judge"], checks["only_rules"]) == (4, 0, 4, 0)
        judgements, _, record = judge(params(server.url, checks=2), answers, MMVU, samples)
        assert sum(each is not None for each in judgements) == 3
        _, _, record = judge(params(server.url, checks=0), answers, MMVU, samples)
        assert record["checks"] is None


def test_rules_decide_videommmus_open_questions_and_the_judge_is_only_compared() -> None:
    samples = {"q1": open_question("q1"), "q2": open_question("q2")}
    with judge_server(lambda text: "incorrect") as server:
        _, scores, record = judge(params(server.url), {"q1": "a pulley", "q2": "a lever"}, VIDEOMMMU, samples)
    assert scores == [1.0, 0.0]
    assert record["checks"]
    assert (record["checks"]["only_rules"], sum(record["decided"].values())) == (1, 0)


def test_where_rules_give_a_score_for_free_text_the_judge_replaces_it_and_both_are_compared() -> None:
    benchmark = Benchmark(read=lambda root: iter(()))
    with judge_server(lambda text: "correct") as server:
        judgements, scores, record = judge(params(server.url), {"q1": "a pulley", "q2": "no idea"}, benchmark)
    assert scores == [1.0, 1.0]
    assert [each and each["by_rules"] for each in judgements] == [1.0, 0.0]
    assert record["replaced"]
    assert (record["replaced"]["both_right"], record["replaced"]["only_judge"]) == (1, 1)
