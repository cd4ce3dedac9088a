"""Statuses that end the run, refused fields, the key in messages."""

import pytest
from pydantic import JsonValue

from stages.chat.failures import LONGEST_DETAIL
from stages.chat.request import Dialect
from stages.run.errors import EndpointError, UserError
from tests.chat.asking import ask, params, request
from tests.fault_server import Fault, Raw, completion, fault_server, raw

KEY = "sk-very-secret-1234567890"


def refusal(message: str, status: int = 400, **fields: JsonValue) -> Raw:
    return raw({"error": {"message": message, **fields}}, status)


QUOTA = refusal("You exceeded your current quota", 429, code="insufficient_quota")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("401", "does not accept the key"),
        ("403", "does not accept the key"),
        ("404", "does not know the model"),
        ("405", "does not know the model"),
        ("402", "no credit left"),
        (QUOTA, r"no credit left.*exceeded your current quota.*answers are kept"),
        ("elsewhere", r"redirects to http://127\.0\.0\.1:9/v1/chat/completions.*write its part before /chat"),
    ],
    ids=["401", "403", "404", "405", "402", "quota", "redirect"],
)
def test_what_no_other_request_would_change_ends_in_one_line(fault: Fault, words: str) -> None:
    with fault_server(lambda text, attempt: fault) as server:
        with pytest.raises(UserError, match=words) as ended:
            ask(params(server.url), request())
        assert len(server.calls) == 1
    assert not isinstance(ended.value, EndpointError)  # which flows would try again
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize(
    ("fault", "changes", "words"),
    [
        (
            refusal("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            {},
            "set max_tokens_field: max_completion_tokens",
        ),
        (
            refusal("Unrecognized request argument supplied: max_completion_tokens"),
            {"max_tokens_field": "max_completion_tokens"},
            "set max_tokens_field: max_tokens",
        ),
        (
            raw({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}, 422),
            {},
            "set send_seed: false",
        ),
        (
            refusal("Unknown parameter: 'top_k'."),
            {"extra_body": {"top_k": 20, "min_p": 0.1}},
            "take top_k out of extra_body",
        ),
        (
            refusal("logit_bias is not yet supported with speculative decoding"),
            {"extra_body": {"logit_bias": {"7": -100}}},
            "set forbid_placeholders: false",
        ),
    ],
    ids=["max_tokens", "max_completion_tokens", "seed", "extra_body", "logit_bias"],
)
def test_a_field_that_the_server_does_not_take_names_the_parameter(
    fault: Raw, changes: dict[str, object], words: str
) -> None:
    with fault_server(lambda text, attempt: fault) as server:
        parameters = params(server.url, **changes)
        with pytest.raises(UserError, match=words):
            ask(parameters, request(dialect=Dialect.of(parameters)))
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        refusal("'max_tokens' is too large: 512. The model's maximum context length is 400 tokens."),
        refusal("the seed of doubt", 422),
        refusal("Unknown image format"),
        raw({"error": "too large"}, 413),
    ],
    ids=["length", "422", "image", "413"],
)
def test_a_request_that_is_refused_for_its_own_sake_fails_alone(fault: Raw) -> None:
    with fault_server(lambda text, attempt: fault if text == "bad" else "ok") as server:
        bad, good = ask(params(server.url), request("bad"), request("good"))
        assert (bad.status, good.status) == ("failed", "ok")
        assert len(server.calls) == 2


def escaped(key: str) -> str:
    return "".join(f"\\u{ord(mark):04X}" for mark in key)


def in_percents(key: str) -> str:
    return "".join(f"%{ord(mark):02x}" for mark in key)


@pytest.mark.parametrize(
    "fault",
    [
        Raw(f'{{"error": {{"message": "the key was {escaped(KEY)}"}}}}'.encode(), 400),
        Raw(f"<p>the key was {escaped(KEY)}".encode(), 400),
        Raw(f"the key was {in_percents(KEY)}".encode()),
        Raw(f"{'x' * (LONGEST_DETAIL - 30)} {KEY}".encode(), 400),
        Raw(("x" * 2**16 + KEY).encode()),
        raw(completion("?", f"the key was {KEY}")),
    ],
    ids=["escaped", "no json", "percents", "cut", "long", "reason"],
)
def test_a_key_in_an_error_is_taken_out_before_anything_is_cut(fault: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with fault_server(lambda text, attempt: fault) as server:
        [reply] = ask(params(server.url, api_key_env="TEACHER_KEY", retries=0), request())
        assert server.calls[0].authorization == f"Bearer {KEY}"
    assert reply.status == "failed"
    for shown in (KEY, escaped(KEY), in_percents(KEY)):
        assert shown[:12] not in reply.detail


def test_a_key_in_a_redirect_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    for location in (KEY, in_percents(KEY)):
        fault = Raw(b"", 308, {"Location": f"http://127.0.0.1:9/v1/chat/completions?key={location}"})
        with (
            fault_server(lambda text, attempt, fault=fault: fault) as server,
            pytest.raises(UserError, match=r"redirects to http://127.0.0.1:9/.*key=\[key]"),
        ):
            ask(params(server.url, api_key_env="TEACHER_KEY"), request())


def test_a_key_in_an_answer_is_read_and_then_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    answer = completion("@", "stop", reasoning="@", refusal="@")
    assert isinstance(answer["choices"], list)
    answer["choices"] *= 2
    body = Raw(str(raw(answer).body, "ascii").replace("@", f"it is {escaped(KEY)}").encode())
    with fault_server(lambda text, attempt: body) as server:
        [reply] = ask(params(server.url, api_key_env="TEACHER_KEY"), request())
    for each in (reply, *reply.others):
        assert (each.text, each.reasoning, each.detail) == ("it is [key]",) * 3
    assert len(reply.others) == 1


@pytest.mark.parametrize("key", ["sk secret", "sk-secret\n", "sk-s\tcret", "sk-sécret", "\u200bsk-secret"])
def test_a_key_that_no_header_can_hold_is_one_line(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", key)
    with pytest.raises(UserError, match="the key in TEACHER_KEY holds a space") as refused:
        ask(params("http://127.0.0.1:9/v1", api_key_env="TEACHER_KEY"), request())
    assert "cret" not in str(refused.value)


def test_a_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(UserError, match="TEACHER_KEY"):
        ask(params("http://127.0.0.1:9/v1", api_key_env="TEACHER_KEY"), request())
