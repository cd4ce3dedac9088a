"""The chat client against a real HTTP server that misbehaves."""

import asyncio
import base64
import gc
import io
import time
from collections.abc import Iterator
from email.utils import formatdate

import numpy as np
import pytest
from PIL import Image

from stages.chat import client
from stages.chat.client import ChatClient, ChatParams, ChatSampling, Pace, Reply, Request, ask_all
from stages.run.errors import UserError
from tests.fault_server import THOUGHT, fault_server

SAMPLING = ChatSampling(temperature=1.0, top_p=0.95, max_tokens=512, seed=7)


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((28, 56, 3), shade, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(text: str = "which way?", pictures: tuple[bytes, ...] = (), payload: client.Payload = "images") -> Request:
    return Request("teacher", text, pictures, "video", payload, SAMPLING)


def params(url: str, **changes: object) -> ChatParams:
    return ChatParams.model_validate(
        {"base_url": url, "model": "teacher", "timeout_s": 1.0, "retries": 2, "concurrency": 4, **changes}
    )


def ask(parameters: ChatParams, *requests: Request) -> list[Reply]:
    async def ask_in_turn() -> list[Reply]:
        async with ChatClient(parameters) as client:
            return [await client.request(each) for each in requests]

    return asyncio.run(ask_in_turn())


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_BACKOFF", 0.05)


def test_a_good_answer_comes_back_with_its_tokens() -> None:
    with fault_server() as server:
        [reply] = ask(params(server.url), request())
    assert reply == Reply("ok", THOUGHT, "stop", 100, 20)


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


def test_retry_after_is_honoured_in_seconds_and_as_a_date() -> None:
    with fault_server(lambda text, attempt: "429 after 0.4" if attempt == 1 else "ok") as server:
        ask(params(server.url), request())
        first, second = server.calls
    assert second.started - first.started >= 0.4
    assert client._retry_after(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=2)
    assert client._retry_after("soon") is None


def test_a_server_that_is_not_there_is_one_line_at_once() -> None:
    with fault_server() as server:
        url = server.url
    with pytest.raises(UserError, match=f"no server answers at {url}"):
        ask(params(url, retries=1000), request())
    with pytest.raises(UserError, match="no server answers at nonsense"):
        ask(params("nonsense"), request())


@pytest.mark.parametrize(
    ("status", "words"),
    [("401", "does not accept the key"), ("403", "does not accept"), ("404", "does not know the model")],
)
def test_a_wrong_key_address_or_model_is_one_line(status: str, words: str) -> None:
    with fault_server(lambda text, attempt: status) as server:
        with pytest.raises(UserError, match=words):
            ask(params(server.url), request())
        assert len(server.calls) == 1


def test_a_redirect_is_not_followed_and_is_one_line() -> None:
    with fault_server(lambda text, attempt: "elsewhere") as server:
        with pytest.raises(
            UserError,
            match=r"sends elsewhere, to http://127\.0\.0\.1:9/v1/chat/completions; write that address into base_url",
        ):
            ask(params(server.url), request())
        assert len(server.calls) == 1


def test_a_compressed_answer_is_read() -> None:
    with fault_server(lambda text, attempt: "gzip") as server:
        assert ask(params(server.url), request()) == [Reply("ok", THOUGHT, "stop", 100, 20)]


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


def test_the_key_is_sent_but_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    with fault_server(lambda text, attempt: "400") as server:
        [reply] = ask(params(server.url, api_key_env="TEACHER_KEY"), request())
        assert server.calls[0].authorization == "Bearer sk-very-secret"
    assert "the key was Bearer [key]" in reply.detail


def test_a_missing_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(UserError, match="TEACHER_KEY"):
        ask(params("http://127.0.0.1:9/v1", api_key_env="TEACHER_KEY"), request())


def test_proxies_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with fault_server() as server:
        assert ask(params(server.url), request())[0].status == "ok"


def test_frames_travel_as_the_stored_bytes_in_either_payload() -> None:
    pictures = (jpeg(10), jpeg(200))
    with fault_server() as server:
        ask(params(server.url), request("a", pictures), request("b", pictures, "video"))
        images, video = [call.body["messages"][0]["content"] for call in server.calls]
    assert [part["type"] for part in images] == ["image_url", "image_url", "text"]
    sent = [base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) for part in images[:2]]
    assert sent == list(pictures)
    assert [part["type"] for part in video] == ["video_url", "text"]
    frames = video[0]["video_url"]["url"].removeprefix("data:video/jpeg;base64,").split(",")
    assert [base64.b64decode(frame) for frame in frames] == list(pictures)


def test_the_body_carries_the_model_and_the_sampling() -> None:
    body = request().body()
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens", "seed")} == {
        "model": "teacher",
        "temperature": 1.0,
        "top_p": 0.95,
        "max_tokens": 512,
        "seed": 7,
    }


def test_the_key_of_a_request_changes_with_everything_that_decides_the_answer() -> None:
    base = request("q", (jpeg(1), jpeg(2)))
    others = [
        request("q2", (jpeg(1), jpeg(2))),
        request("q", (jpeg(2), jpeg(1))),
        request("q", (jpeg(1), jpeg(2)), "video"),
        Request("other", "q", base.pictures, "video", "images", SAMPLING),
        Request("teacher", "q", base.pictures, "image", "images", SAMPLING),
        Request("teacher", "q", base.pictures, "video", "images", ChatSampling(0.5, 0.95, 512, 7)),
        Request("teacher", "q", base.pictures, "video", "images", ChatSampling(1.0, 0.95, 512, 8)),
        Request("teacher", "q", base.pictures, "video", "images", SAMPLING, identity="code 2"),
    ]
    assert len({base.key, *(other.key for other in others)}) == 1 + len(others)
    assert base.key == request("q", (jpeg(1), jpeg(2))).key


def test_the_prompt_estimate_counts_28_pixel_patches_and_text() -> None:
    assert request("12345678", (jpeg(1),) * 3).prompt_estimate == 32 + 4 + 3 * (1 * 2 + 2)


def test_concurrency_is_reached_and_never_exceeded_and_requests_are_drawn_lazily() -> None:
    drawn = 0

    def requests() -> Iterator[Request]:
        nonlocal drawn
        for number in range(40):
            drawn += 1
            yield request(f"question {number}")

    async def all_of_it(url: str) -> list[str]:
        texts, taken = [], 0
        async with ChatClient(params(url, concurrency=8)) as client:
            async for batch in ask_all(client, requests(), 8):
                taken += len(batch)
                assert drawn <= taken + 10 + 1
                texts += [asked.text for asked, reply in batch if reply.status == "ok"]
        return texts

    with fault_server(latency_s=0.3) as server:
        texts = asyncio.run(all_of_it(server.url))
        assert max(call.in_flight for call in server.calls) == 8
    assert sorted(texts) == sorted(f"question {number}" for number in range(40))


def test_a_request_that_is_not_admitted_waits_and_ends_the_run_when_nothing_is_in_flight() -> None:
    admitted: list[str] = []

    def admit(asked: Request) -> bool:
        if len(admitted) == 5:
            return False
        admitted.append(asked.text)
        return True

    async def some_of_it(url: str) -> list[str]:
        async with ChatClient(params(url)) as client:
            batches = ask_all(client, (request(str(number)) for number in range(20)), 4, admit)
            return [asked.text async for batch in batches for asked, _ in batch]

    with fault_server() as server:
        assert sorted(asyncio.run(some_of_it(server.url))) == ["0", "1", "2", "3", "4"]
        assert len(server.calls) == 5


@pytest.mark.parametrize("limit", [{"requests_per_minute": 1200}, {"tokens_per_minute": 1200 * (32 + 512)}])
def test_limits_per_minute_are_never_exceeded_on_the_servers_side(limit: dict[str, int]) -> None:
    with fault_server() as server:

        async def twelve() -> None:
            async with ChatClient(params(server.url, **limit)) as client:  # one every 50 ms
                await asyncio.gather(*(client.request(request(str(number))) for number in range(12)))

        begin = time.monotonic()
        asyncio.run(twelve())
        started = sorted(call.started for call in server.calls)
    # The one with number n is not sent, so cannot arrive, before n shares of the minute are over, however late any of them is.
    assert [start >= begin + number * 0.05 for number, start in enumerate(started)] == [True] * 12


def test_a_pace_spreads_amounts_over_the_minute() -> None:
    async def starts() -> list[float]:
        pace, begin = Pace(60_000), time.monotonic()
        times = []
        for amount in (100, 50, 0):  # 60,000 a minute is one each millisecond
            await pace.wait(amount)
            times.append(time.monotonic() - begin)
        return times

    _, second, third = asyncio.run(starts())
    assert second >= 0.099  # each waits for the amounts before it, however late those were served
    assert third >= 0.149
