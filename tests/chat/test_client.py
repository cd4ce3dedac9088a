"""The chat client against a real HTTP server that misbehaves."""

import asyncio
import gc

import pytest

from stages.chat.client import ChatClient
from stages.chat.reply import Reply
from stages.run.errors import UserError
from tests.chat.asking import ask, params, request
from tests.fault_server import THOUGHT, fault_server


def test_a_good_answer_comes_back_with_its_tokens() -> None:
    with fault_server() as server:
        [reply] = ask(params(server.url), request())
    assert reply == Reply("ok", THOUGHT, 100, 20)


@pytest.mark.parametrize(
    "fault",
    ["429", "429 after 0.05", "500", "503", "reset", "stall", "malformed json", "empty choices", "drip", "408", "529"],
)
def test_what_passes_is_asked_again_and_answered(fault: str) -> None:
    with fault_server(lambda text, attempt: fault if attempt == 1 else "ok") as server:
        [reply] = ask(params(server.url), request())
        assert (reply.status, reply.text) == ("ok", THOUGHT)
        assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("503", "HTTP 503"),
        ("reset", "connection error"),
        ("stall", "time-out"),
        ("malformed json", "malformed response"),
        ("empty choices", "malformed response"),
        ("drip", "time-out"),
    ],
)
def test_what_does_not_pass_fails_alone_after_the_retries(fault: str, detail: str) -> None:
    with fault_server(lambda text, attempt: fault if text == "bad" else "ok") as server:
        bad, good = ask(params(server.url, retries=1), request("bad"), request("good"))
        assert (bad.status, good.status) == ("failed", "ok")
        assert detail in bad.detail
        assert [call.text for call in server.calls] == ["bad", "bad", "good"]


@pytest.mark.parametrize(
    ("fault", "status", "detail"),
    [
        ("length", "truncated", "reached max_tokens"),
        ("content_filter", "refused", "content_filter"),
        ("refusal", "refused", "I cannot help with that"),
        ("filtered 400", "refused", "content_filter"),
        ("400", "failed", "HTTP 400"),
        ("413", "failed", "HTTP 413"),
    ],
)
def test_a_final_answer_is_not_asked_again(fault: str, status: str, detail: str) -> None:
    with fault_server(lambda text, attempt: fault) as server:
        [reply] = ask(params(server.url), request())
        assert reply.status == status
        assert detail in reply.detail
        assert len(server.calls) == 1


def test_whoever_pays_hears_of_attempts_that_may_have_been_billed_and_may_end_them() -> None:
    async def asked(url: str, *allowed: bool) -> tuple[str, int]:
        left = list(allowed)
        async with ChatClient(params(url, retries=5)) as client:
            reply = await client.request(request(), lambda asked: left.pop(0))
        return reply.status, len(left)

    with fault_server(lambda text, attempt: {1: "reset", 2: "500", 3: "stall"}.get(attempt, "ok")) as server:
        assert asyncio.run(asked(server.url, True, True, True)) == ("ok", 1)
    with fault_server(lambda text, attempt: "malformed json") as server:
        assert asyncio.run(asked(server.url, True, False, True)) == ("failed", 1)
        assert len(server.calls) == 2


def test_a_server_that_is_not_there_is_one_line_at_once() -> None:
    with fault_server() as server:
        url = server.url
    with pytest.raises(UserError, match=f"no server answers at {url}"):
        ask(params(url, retries=1000), request())


def test_a_compressed_answer_is_read() -> None:
    with fault_server(lambda text, attempt: "gzip") as server:
        assert ask(params(server.url), request()) == [Reply("ok", THOUGHT, 100, 20)]


def test_the_server_is_told_nothing_of_this_machine_nor_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(variable, "mine")
    with fault_server() as server:
        ask(params(server.url), request())
        assert set(server.calls[0].headers) == {
            *("accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent")
        }
        assert "mine" not in str(server.calls[0].headers)


def test_the_collector_leaves_loaded_modules_alone_while_asking_and_only_then() -> None:
    async def frozen() -> int:
        async with ChatClient(params("http://127.0.0.1:9/v1")):
            return gc.get_freeze_count()

    assert asyncio.run(frozen()) > 10_000
    assert gc.get_freeze_count() == 0


def test_proxies_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with fault_server() as server:
        assert ask(params(server.url), request())[0].status == "ok"
