"""What a request sends, its key and the estimate of its tokens."""

import base64

from stages.chat.request import ChatSampling, Request
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


def test_the_prompt_estimate_counts_28_pixel_patches_and_text() -> None:
    assert request("12345678", (jpeg(1),) * 3).prompt_estimate == 32 + 4 + 3 * (1 * 2 + 2)
