"""What a request sends, its key and the estimate of its tokens."""

import base64

import pytest
from pydantic import ValidationError

from stages.chat.request import PLAIN, ChatSampling, Dialect, Request
from tests.chat.asking import SAMPLING, ask, jpeg, params, request
from tests.fault_server import fault_server


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


def test_keys_of_the_plain_dialect_are_those_of_the_answers_on_disk() -> None:
    """Computed before the dialects existed."""
    clip = Request("teacher", "which way?", (b"\xff\xd8one", b"\xff\xd8two"), "video", "images", SAMPLING)
    image = Request("m", "q", (b"RIFF",), "image", "video", ChatSampling(0.0, 1.0, 16), identity="x")
    assert clip.key == "29d3794abc94a25f6afe3469554c8d7e9acdbf9dd1273c52d63f556059614c60"
    assert image.key == "ef858c80bfd17115bcc04fee71c0c88d4a1f24cdc3a413e3df6881dd029c6344"


def test_a_dialect_changes_the_body_and_the_key() -> None:
    top_k = Dialect(extra_body={"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}})
    assert request(dialect=top_k).body() == request().body() | dict(top_k.extra_body)
    renamed = request(dialect=Dialect(max_tokens_field="max_completion_tokens")).body()
    assert renamed["max_completion_tokens"] == 512
    assert "max_tokens" not in renamed
    assert "seed" not in request(dialect=Dialect(send_seed=False)).body()
    dialects = [
        PLAIN,
        top_k,
        Dialect(extra_body={"top_k": 21}),
        Dialect(max_tokens_field="max_completion_tokens"),
        Dialect(send_seed=False),
    ]
    assert len({request(dialect=dialect).key for dialect in dialects}) == len(dialects)
    assert request(dialect=Dialect(extra_body={"a": 1, "b": 2})).key == (
        request(dialect=Dialect(extra_body={"b": 2, "a": 1})).key
    )


@pytest.mark.parametrize("name", ["model", "messages", "max_tokens", "temperature", "seed", "stream", "n"])
def test_a_further_field_cannot_replace_one_that_has_its_own_parameter(name: str) -> None:
    with pytest.raises(ValidationError, match=f"'{name}'"):
        params("http://127.0.0.1:9/v1", extra_body={name: 1})


def test_a_further_field_can_be_sent() -> None:
    with pytest.raises(ValidationError, match="cannot be sent"):
        params("http://127.0.0.1:9/v1", extra_body={"top_k": 2**80})


def test_the_prompt_estimate_counts_28_pixel_patches_and_text() -> None:
    assert request("12345678", (jpeg(1),) * 3).prompt_estimate == 32 + 4 + 3 * (1 * 2 + 2)
