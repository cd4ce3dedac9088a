"""The annotate stage against the fault server."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.chat.annotation_parameters import AnnotateParams
from stages.run.errors import UserError
from stages.run.files import read_json, write_table
from stages.video.frame_store import FRAME_KEYS_SCHEMA
from tests.annotate.case import OUTPUTS, annotate, content, named, parameters, write_inputs
from tests.fault_server import fault_server


def test_only_samples_of_the_sft_set_with_frames_are_asked_and_end_in_their_order() -> None:
    write_inputs(9)
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert sorted(call.text.splitlines()[0] for call in server.calls) == [f"question {i}?" for i in range(9)]
    assert [row["sample_id"] for row in rows] == [f"s{i}" for i in range(9)]
    assert {row["status"] for row in rows} == {"ok"}
    metrics = read_json(Path("annotate.json"))
    assert metrics["status"] == {"ok": 9, "malformed": 0, "truncated": 0, "refused": 0, "failed": 0}
    assert (metrics["samples_without_frames"], metrics["prompt_tokens"], metrics["completion_tokens"]) == (1, 900, 180)


def test_an_address_and_a_model_are_enough_for_a_server_and_it_is_asked_as_in_the_paper() -> None:
    write_inputs(1)
    with fault_server() as server:
        annotate(AnnotateParams(base_url=server.url, model="teacher"))
        [call] = server.calls
    assert call.text.startswith("question 0?Options:\nA. left\nB. right\n\nPlease think about this question")
    assert [call.body[name] for name in ("temperature", "top_p", "max_tokens")] == [1.0, 0.95, 512]
    assert AnnotateParams().style == "plain"  # of the embedded teacher


def test_every_sample_has_its_own_status_and_only_failed_ones_are_asked_again() -> None:
    write_inputs(6)
    faults = {
        "question 0?": "malformed thought",
        "question 1?": "length",
        "question 2?": "content_filter",
        "question 3?": "500",
        "question 4?": "malformed json",
    }
    with fault_server(named(faults)) as server:
        rows = annotate(parameters(server.url, max_failed=0.5))
        assert [row["status"] for row in rows] == ["malformed", "truncated", "refused", "failed", "failed", "ok"]
        assert str(rows[3]["detail"]).startswith("HTTP 500")
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert [row["status"] for row in rows] == ["malformed", "truncated", "refused", "ok", "ok", "ok"]
        assert sorted(call.text.splitlines()[0] for call in server.calls) == ["question 3?", "question 4?"]


FAULTS = ("429", "429 after 0.2", "500", "503", "reset", "stall", "malformed json", "empty choices", "drip")


def test_among_all_faults_nothing_is_lost_and_only_what_failed_is_asked_again() -> None:
    write_inputs(27)
    final = {"question 9?": "length", "question 10?": "content_filter", "question 11?": "refusal"}

    def fault(text: str, attempt: int) -> str:
        question = text.splitlines()[0]
        number = int(question.split()[1].rstrip("?"))
        return final.get(question, FAULTS[number] if number < len(FAULTS) and attempt == 1 else "ok")

    with fault_server(fault, latency_s=0.01) as server:
        rows = annotate(parameters(server.url, concurrency=3))
        assert [row["sample_id"] for row in rows] == [f"s{i}" for i in range(27)]
        assert [row["status"] for row in rows] == ["ok"] * 9 + ["truncated", "refused", "refused"] + ["ok"] * 15
        asked = Counter(int(call.text.split()[1].rstrip("?\n")) for call in server.calls)
        assert asked == {number: 2 if number < len(FAULTS) else 1 for number in range(27)}
        assert annotate(parameters(server.url)) == rows
        assert len(server.calls) == 27 + len(FAULTS)


def test_nothing_is_asked_twice_and_changed_parameters_ask_anew_and_keep_the_old() -> None:
    write_inputs(5)
    with fault_server() as server:
        first = annotate(parameters(server.url))
        shards = content("responses")
        assert annotate(parameters(server.url, concurrency=2)) == first
        assert len(server.calls) == 5
        for change in ({"prompt": "video-r1"}, {"model": "other"}, {"seed": 1}):
            asked = len(server.calls)
            annotate(parameters(server.url, **change))
            assert len(server.calls) == asked + 5
        assert annotate(parameters(server.url)) == first
        assert len(server.calls) == 20
    assert content("responses").items() >= shards.items()


def test_n_answers_per_question_have_seeds_of_their_own_and_equal_questions_are_asked_once() -> None:
    write_inputs(2)
    rows = pq.read_table("frames.parquet").to_pylist()
    write_table(Path("frames.parquet"), [row | {"frame_key": "k0"} for row in rows], FRAME_KEYS_SCHEMA)
    samples = pq.read_table("samples.parquet").to_pylist()
    pq.write_table(
        pq.read_table("samples.parquet").from_pylist([row | {"problem": "same?"} for row in samples]), "samples.parquet"
    )
    with fault_server() as server:
        assert [row["sample_id"] for row in annotate(parameters(server.url, n=3, seed=10))] == [
            "s0",
            "s0",
            "s0",
            "s1",
            "s1",
            "s1",
        ]
        assert sorted(call.seed or 0 for call in server.calls) == [10, 11, 12]


def test_uninterrupted_runs_from_clean_are_byte_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_inputs(30)
        with fault_server(
            lambda text, attempt: "429" if attempt == 1 and "7" in text else "ok", latency_s=0.005
        ) as server:
            annotate(parameters(server.url, concurrency=8))
        results.append(content(*OUTPUTS))
    assert results[0] == results[1]


def test_the_key_is_in_no_artifact(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    write_inputs(4)
    with fault_server(named({"question 1?": "400"})) as server, caplog.at_level("DEBUG"):
        rows = annotate(parameters(server.url, api_key_env="TEACHER_KEY", max_failed=1.0))
        assert server.calls[0].authorization == "Bearer sk-very-secret"
    assert "[key]" in str(rows[1]["detail"])
    artifacts = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert artifacts
    assert not any(b"sk-very-secret" in data for data in [*artifacts, caplog.text.encode()])


def test_a_torn_last_line_of_the_journal_is_asked_again() -> None:
    write_inputs(5)
    journal = Path(".work/annotate/responses.jsonl")
    with fault_server(named({"question 4?": "500"})) as server:
        with pytest.raises(UserError):
            annotate(parameters(server.url, max_failed=0.0, concurrency=1))
        assert len(journal.read_bytes().splitlines()) == 4
        journal.write_bytes(journal.read_bytes()[:-10])
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert sorted(call.text.splitlines()[0] for call in server.calls) == ["question 3?", "question 4?"]
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert journal.read_bytes() == b""
