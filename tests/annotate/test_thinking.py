"""Thoughts in other forms, and first answers of no use."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import JsonValue

from stages.data.annotations import ANSWER_SCHEMA
from stages.data.shards import ShardStore
from stages.run.errors import UserError
from tests.annotate.case import annotate, content, only_once, parameters, write_inputs
from tests.fault_server import THOUGHT, Raw, completion, fault_server, raw

FORMS: list[dict[str, JsonValue]] = [
    completion("<answer>A</answer>", "stop", reasoning_content="it moves left"),
    completion(None, "stop", reasoning="it moves left</think>\n<answer>A</answer>"),
    completion("it moves left\n</think>\n\n<answer>A</answer>"),
    completion(f"\n\n{THOUGHT}"),
    completion(f"<think>\n\n</think>\n\n{THOUGHT}"),
]


def number(text: str) -> int:
    """Of the question in a request."""
    return int(text.split()[1].rstrip("?\n"))


def test_every_form_of_a_thought_is_one_thought_and_one_answer_and_is_stored_as_it_came() -> None:
    write_inputs(len(FORMS))
    with fault_server(lambda text, attempt: raw(FORMS[number(text)])) as server:
        rows = annotate(parameters(server.url))
        assert [(row["status"], row["text"]) for row in rows] == [("ok", THOUGHT)] * len(FORMS)
        assert annotate(parameters(server.url)) == rows
        assert len(server.calls) == len(FORMS)
    stored = pq.read_table("responses").to_pylist()
    assert [row["reasoning"] for row in stored[:3]] == [
        "it moves left",
        "it moves left</think>\n<answer>A</answer>",
        "",
    ]
    assert [row["text"] for row in stored[:3]] == [
        "<answer>A</answer>",
        "",
        "it moves left\n</think>\n\n<answer>A</answer>",
    ]


def test_answers_that_an_earlier_version_could_not_read_are_read_from_the_store() -> None:
    write_inputs(2)
    with fault_server(lambda text, attempt: raw(FORMS[2])) as server:
        rows = annotate(parameters(server.url))
    answers = pq.read_table("responses").to_pylist()
    for shard in Path("responses").glob("*.parquet"):
        shard.unlink()
    without_reasoning = ANSWER_SCHEMA.remove(ANSWER_SCHEMA.get_field_index("reasoning"))
    ShardStore(Path("responses"), without_reasoning).append(answers)
    assert annotate(parameters(server.url)) == rows  # nobody answers there any more
    assert {row["status"] for row in rows} == {"ok"}


def useless(text: str, attempt: int) -> str | Raw:
    kinds: list[str | Raw] = ["malformed thought", "length", "content_filter", raw(completion("word " * 500))]
    return kinds[number(text) % len(kinds)]


def test_a_run_stops_with_three_examples_when_its_first_answers_are_of_no_use() -> None:
    write_inputs(120)
    with fault_server(useless) as server:
        with pytest.raises(
            UserError, match=r"32 of the first 32 answers are of no use \(.*malformed.*truncated\)"
        ) as stop:
            annotate(parameters(server.url))
        assert str(stop.value).count("answer ") >= 3
        assert "'it moves left, A'" in str(stop.value)
        assert "\n" not in str(stop.value)
        asked = len(server.calls)
        assert 32 <= asked <= 32 + 2 * 5
        assert len(server.answered) == asked
        assert len(Path(".work/annotate/responses.jsonl").read_bytes().splitlines()) == asked  # nothing paid is lost
        with pytest.raises(UserError, match="32 of the first 32 answers are of no use"):
            annotate(parameters(server.url))
        assert len(server.calls) == asked  # nothing more is paid
        rows = annotate(parameters(server.url, max_unusable=1.0))
        assert len(rows) == len(server.calls) == 120
        assert only_once([call.text for call in server.calls])
    with fault_server() as server:
        assert {row["status"] for row in annotate(parameters(server.url, prompt="video-r1"))} == {"ok"}


def test_some_useless_answers_are_no_reason_to_stop() -> None:
    write_inputs(60)
    with fault_server(lambda text, attempt: "ok" if number(text) % 4 == 0 else "length") as server:
        rows = annotate(parameters(server.url))
    assert [row["status"] for row in rows] == ["ok", "truncated", "truncated", "truncated"] * 15


def test_a_servers_dialect_is_spoken_and_is_part_of_what_was_asked() -> None:
    write_inputs(2)
    with fault_server() as server:
        annotate(parameters(server.url))
        before = content("responses")
        changes = {"extra_body": {"top_k": 20}, "max_tokens_field": "max_completion_tokens", "send_seed": False}
        annotate(parameters(server.url, n=2, **changes))
        assert len(server.calls) == 2 + 4
        sent = server.calls[-1].body
        assert (sent["top_k"], sent["max_completion_tokens"]) == (20, 512)
        assert not {"max_tokens", "seed"} & set(sent)
        annotate(parameters(server.url))
        annotate(parameters(server.url, n=2, **changes))
        assert len(server.calls) == 2 + 4
    assert content("responses").items() >= before.items()


def test_nothing_that_a_server_counts_or_writes_stops_a_later_run() -> None:
    write_inputs(3)
    usage: dict[str, JsonValue] = {"prompt_tokens": 10**22, "completion_tokens": -(10**22)}
    odd = [completion() | {"usage": usage}, completion("a\ud800\u0000b"), completion(THOUGHT, reasoning_content=7)]
    with fault_server(lambda text, attempt: raw(odd[number(text)])) as server:
        rows = annotate(parameters(server.url))
        assert [row["status"] for row in rows] == ["ok", "malformed", "ok"]
        assert rows[0]["prompt_tokens"] == 0
        assert rows[1]["text"] == "a\ufffd\u0000b"
        assert annotate(parameters(server.url)) == rows
        assert len(server.calls) == 3


def test_a_damaged_line_of_the_journal_is_named_and_only_its_answer_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_inputs(5)
    journal = Path(".work/annotate/responses.jsonl")
    with fault_server(lambda text, attempt: "500" if number(text) == 4 else "ok") as server, pytest.raises(UserError):
        annotate(parameters(server.url, max_failed=0.0, concurrency=1))
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = b'{"key": \xff\n'
    lines[2] = lines[2].replace(b'"prompt_tokens": 100', b'"prompt_tokens": 9999999999999999999999')  # as once written
    journal.write_bytes(b"".join(lines))
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert sorted(number(call.text) for call in server.calls) == [1, 2, 4]
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert "responses.jsonl: line 2 is no answer" in caplog.text
    assert "responses.jsonl: line 3 is no answer" in caplog.text
