"""The embedded teacher, asked over HTTP with stored pictures."""

import base64
import http.client
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from stages.data.grading import extract_answer, is_well_formed
from stages.embedded.teacher import Teacher
from stages.embedded.teacher_protocol import MODEL
from stages.embedded.teacher_server import base_url, embedded_teacher, serve
from stages.embedded.world.questions import FAMILIES, Question, make
from stages.embedded.world.scene import Scene, Spot, draw

SAMPLED = (0, 2, 4, 6, 9, 11, 13, 15)
RED = Spot(1, 0, "red", "circle")
TO_THE_RIGHT = Scene("plum", ((RED,), (RED,), (RED._replace(col=1),), (RED._replace(col=1),)))
WAYS = "Which way does it move?\nA. left\nB. right\nC. up\nD. down"


def picture(frame_HWC: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(frame_HWC).resize((48, 48), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=95, subsampling=0
    )
    return {
        "type": "image_url",
        "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()},
    }


def request(text: str, pictures: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}],
        **fields,
    }


def clip(scene: Scene) -> list[dict[str, Any]]:
    frames_THWC = draw(scene)
    return [picture(frames_THWC[index]) for index in SAMPLED]


def ask(question: Question, client: httpx.Client) -> str:
    pictures = clip(question.scene) if question.data_type == "video" else [picture(draw(question.scene)[0])]
    return said(client, request("\n".join([question.problem, *question.options]), pictures))


def said(client: httpx.Client, body: dict[str, Any]) -> str:
    answer = client.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def client_of(careless: float, seed: int = 0) -> Iterator[httpx.Client]:
    server = serve(Teacher(careless, seed), port=0)
    with httpx.Client(base_url=base_url(server)) as client:
        yield client
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def looking() -> Iterator[httpx.Client]:
    yield from client_of(careless=0.0)


@pytest.fixture(scope="module")
def glancing() -> Iterator[httpx.Client]:
    yield from client_of(careless=1.0)


def test_looking_names_the_frames_and_concludes(looking: httpx.Client) -> None:
    assert said(looking, request(WAYS, clip(TO_THE_RIGHT))) == (
        "<think>frame 1 center left, frame 3 center left, frame 5 center middle, frame 7 center middle, "
        "so it moves right, option B.</think>\n<answer>B</answer>"
    )


def test_a_glance_guesses_from_the_backdrop(glancing: httpx.Client) -> None:
    text = said(glancing, request(WAYS, clip(TO_THE_RIGHT)))
    assert text.startswith("<think>it is on plum, at center ")
    assert text.endswith(", so probably up, option C.</think>\n<answer>C</answer>")


@pytest.mark.parametrize("family", FAMILIES)
def test_looking_answers_nearly_every_question(family: str, looking: httpx.Client) -> None:
    rng = np.random.default_rng(1)
    asked = [make(family, rng) for _ in range(20)]
    replies = [ask(question, looking) for question in asked]
    assert all(is_well_formed(reply) for reply in replies)
    assert sum(extract_answer(reply) == question.answer for reply, question in zip(replies, asked, strict=True)) >= 18


def test_questions_that_no_backdrop_suggests_an_answer_to_are_looked_at_by_the_careless_too(
    glancing: httpx.Client,
) -> None:
    rng = np.random.default_rng(2)
    for family in ("end", "order", "letters", "shape", "image-count"):
        assert "it is on" not in ask(make(family, rng), glancing)


def test_the_order_of_the_pictures_decides(looking: httpx.Client) -> None:
    assert extract_answer(said(looking, request(WAYS, clip(TO_THE_RIGHT)[::-1]))) == "A"


def test_equal_requests_get_equal_answers_and_seeds_matter_above_temperature_zero() -> None:
    for client in client_of(careless=0.5):
        body = request(WAYS, clip(TO_THE_RIGHT))
        assert (
            client.post("/chat/completions", json=body).content == client.post("/chat/completions", json=body).content
        )
        seeded = {said(client, {**body, "seed": seed, "temperature": 1.0}) for seed in range(12)}
        assert len(seeded) > 1
        assert len({said(client, {**body, "seed": seed, "temperature": 0.0}) for seed in range(12)}) == 1


def test_n_choices_are_drawn_apart() -> None:
    for client in client_of(careless=0.5):
        choices = client.post("/chat/completions", json=request(WAYS, clip(TO_THE_RIGHT), n=12)).json()["choices"]
        assert [choice["index"] for choice in choices] == list(range(12))
        assert len({choice["message"]["content"] for choice in choices}) > 1


def test_max_tokens_cuts_the_answer_and_usage_counts_it(looking: httpx.Client) -> None:
    body = request(WAYS, clip(TO_THE_RIGHT))
    whole, cut = (looking.post("/chat/completions", json={**body, "max_tokens": limit}).json() for limit in (512, 5))
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["choices"][0]["message"]["content"] == "<think>frame 1 center left"
    assert cut["usage"]["completion_tokens"] == 5
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("question", "pattern"),
    [
        ("What is the man doing?\nOptions:\nA. Running.\nB) Reading a book\nPlease think first.", "AB"),
        ("How many goals are scored?", "1234"),
        ("What does the sign say?", ["unknown"]),
        (WAYS, "ABCD"),
    ],
)
def test_foreign_pictures_and_questions_get_a_well_formed_guess(
    question: str, pattern: list[str], looking: httpx.Client
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for pictures in ([], [picture(np.zeros((36, 64, 3), np.uint8))], [picture(noise)] * 16):
        text = said(looking, request(question, pictures))
        assert is_well_formed(text)
        assert extract_answer(text) in list(pattern)


BAD = [
    ({"model": MODEL, "messages": []}, "messages"),
    ({"model": MODEL}, "messages"),
    ({**request("hello", []), "stream": True}, "stream"),
    ({**request("hello", []), "max_tokens": 0}, "max_tokens"),
    (request("hello", [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/cat.jpg"}}]), "nothing is fetched"),
    (request("hello", [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,bm8="}}]), "cannot be read"),
    (request("hello", [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,?"}}]), "cannot be read"),
]


@pytest.mark.parametrize(("body", "words"), BAD)
def test_a_bad_request_gets_an_error_object(body: dict[str, Any], words: str, looking: httpx.Client) -> None:
    answer = looking.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_bodies_that_are_not_json_too_long_or_sent_elsewhere_are_refused(looking: httpx.Client) -> None:
    assert looking.post("/chat/completions", content=b"{").status_code == 400
    with closing(http.client.HTTPConnection("127.0.0.1", looking.base_url.port)) as raw:
        raw.putrequest("POST", "/v1/chat/completions")
        raw.putheader("Content-Length", str(2**30))
        raw.endheaders()
        assert raw.getresponse().status == 413
    assert looking.post("/completions", json={}).status_code == 404
    assert looking.get("/nothing").status_code == 404


def test_models_are_listed(looking: httpx.Client) -> None:
    assert [model["id"] for model in looking.get("/models").json()["data"]] == [MODEL]


@pytest.mark.integration
def test_the_process_serves_an_openai_client_and_leaves_with_the_context() -> None:
    with embedded_teacher(careless=0.0, seed=0) as url:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        completion = client.chat.completions.create(**request(WAYS, clip(TO_THE_RIGHT), max_tokens=512))
        assert extract_answer(completion.choices[0].message.content) == "B"
        with pytest.raises(openai.BadRequestError, match="stream"):
            client.chat.completions.create(**request(WAYS, []), stream=True)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/models")


@pytest.mark.integration
def test_the_process_leaves_when_its_parent_is_killed() -> None:
    code = (
        "import time\nfrom stages.embedded.teacher_server import embedded_teacher\n"
        "with embedded_teacher(0.5, 0) as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert httpx.get(f"{url}/models").status_code == 200
        os.kill(parent.pid, signal.SIGKILL)
    assert _gone(url)


def _gone(url: str) -> bool:
    for _ in range(100):
        try:
            httpx.get(f"{url}/models")
        except httpx.TransportError:
            return True
        time.sleep(0.1)
    return False
