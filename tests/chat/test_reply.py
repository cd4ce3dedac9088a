"""A server's body read as a reply, over a real connection."""

import json

import pytest
from pydantic import JsonValue

from stages.chat.reply import Reply
from tests.chat.asking import ask, params, request
from tests.fault_server import THOUGHT, Raw, completion, fault_server, raw


def answered(fault: Raw) -> Reply:
    with fault_server(lambda text, attempt: fault) as server:
        [reply] = ask(params(server.url), request())
        assert len(server.calls) == 1
    return reply


def failed(fault: Raw) -> str:
    """The detail of a request whose every answer is `fault`.

    An answer that comes later is taken.
    """
    with fault_server(lambda text, attempt: fault) as server:
        [reply] = ask(params(server.url, retries=1), request())
        assert (reply.status, len(server.calls)) == ("failed", 2)
    with fault_server(lambda text, attempt: fault if attempt == 1 else "ok") as server:
        assert ask(params(server.url, retries=1), request())[0].text == THOUGHT
    return reply.detail


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", [None, "", "<answer>A</answer>"])
def test_a_thought_that_is_sent_apart_is_kept_whole(name: str, content: str | None) -> None:
    thought = "it moves left" if content else "it moves left</think>\n<answer>A</answer>"
    reply = answered(raw(completion(content, "stop", **{name: thought})))
    assert (reply.status, reply.text, reply.reasoning) == ("ok", content or "", thought)
    assert reply.whole_text == THOUGHT


def test_a_content_of_parts_is_read() -> None:
    parts: JsonValue = [{"type": "text", "text": "<think>it moves left</think>\n"}, {"text": "<answer>A</answer>"}]
    assert answered(raw(completion(parts))).text == THOUGHT


@pytest.mark.parametrize(
    ("reason", "status"),
    [("stop", "ok"), ("length", "truncated"), ("content_filter", "refused"), ("tool_calls", "refused")],
)
def test_a_final_reason_is_an_answer(reason: str, status: str) -> None:
    assert answered(raw(completion(finish_reason=reason))).status == status


@pytest.mark.parametrize("reason", ["abort", "error", "eos", "", None])
def test_any_other_reason_is_a_failure_with_its_name(reason: str | None) -> None:
    assert f"finish_reason {json.dumps(reason)}" in failed(raw(completion(finish_reason=reason)))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (raw({"error": {"message": "worker died"}}), "worker died"),
        (raw({"object": "error", "error": "worker died", "choices": []}), "worker died"),
        (raw({"choices": [], "note": "no capacity"}), "no capacity"),
        (raw({"choices": None}), "no choices"),
        (raw({"choices": ["?"]}), "finish_reason null"),
        (raw(["?"]), "no JSON object"),
        (Raw(b"<html><body>Bad gateway</body></html>", headers={"Content-Type": "text/html"}), "Bad gateway"),
        (Raw(b'data: {"choices": [{"delta": {}}]}\n\ndata: [DONE]\n\n'), "data: "),
        (Raw(b""), "no JSON"),
        (Raw(b"[" * 100_000), "no JSON"),
        (Raw(json.dumps(completion()).encode("utf-16")), "no JSON"),
    ],
)
def test_a_success_without_an_answer_is_a_failure_with_the_servers_words(fault: Raw, words: str) -> None:
    assert words in failed(fault)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": None, "completion_tokens": None}, (0, 0)),
        ({"prompt_tokens": 7, "completion_tokens": None, "total_tokens": None}, (7, 0)),
        ({"prompt_tokens": 10**22, "completion_tokens": -5}, (0, 0)),
        ({"prompt_tokens": 2**31, "completion_tokens": 2**31 - 1}, (0, 2**31 - 1)),
        ({"prompt_tokens": 7.0, "completion_tokens": True}, (7, 0)),
        ({"prompt_tokens": "7"}, (0, 0)),
        ("much", (0, 0)),
        (None, (0, 0)),
    ],
)
def test_counts_of_tokens_are_read_where_they_are_in_range(usage: JsonValue, counts: tuple[int, int]) -> None:
    reply = answered(raw(completion() | {"usage": usage}))
    assert (reply.status, reply.prompt_tokens, reply.completion_tokens) == ("ok", *counts)


def test_a_count_of_ten_thousand_digits_is_no_failure() -> None:
    body = json.dumps(completion()).replace('"prompt_tokens": 100', '"prompt_tokens": ' + "9" * 10_000)
    assert answered(Raw(body.encode())).prompt_tokens == 0


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (json.dumps(completion("caf\u00e9"), ensure_ascii=False).encode("utf-8-sig"), "café"),
        (json.dumps(completion("caf\u00e9"), ensure_ascii=False).encode("latin-1"), "caf\ufffd"),
        (json.dumps(completion("a\u0000b")).encode(), "a\u0000b"),
        (json.dumps(completion("a\ud800b")).encode(), "a\ufffdb"),
        (json.dumps(completion("\U0001f600")).encode(), "\U0001f600"),
        (json.dumps(completion("a\nb")).replace("\\n", "\n").encode(), "a\nb"),
    ],
)
def test_any_bytes_become_a_text_that_a_file_can_hold(body: bytes, text: str) -> None:
    reply = answered(Raw(body))
    assert reply.text == text
    assert reply.text.encode().decode() == text


def test_several_answers_and_their_token_ids_are_read_in_order() -> None:
    choices: JsonValue = [
        {"message": {"content": "first"}, "finish_reason": "stop", "token_ids": [5, 6]},
        {"message": {"content": "second"}, "finish_reason": "length", "token_ids": [7]},
    ]
    reply = answered(raw({"choices": choices, "prompt_token_ids": [1, 2, 3]}))
    assert (reply.text, reply.ids, reply.prompt_ids) == ("first", (5, 6), (1, 2, 3))
    (other,) = reply.others
    assert (other.text, other.status, other.ids) == ("second", "truncated", (7,))


@pytest.mark.parametrize("ids", [None, "7", [7, "8"], [7, True], [7.0], {"7": 8}])
def test_token_ids_of_another_form_are_none(ids: JsonValue) -> None:
    choices: JsonValue = [{"message": {"content": "a"}, "finish_reason": "stop", "token_ids": ids}]
    assert answered(raw({"choices": choices})).ids == ()
