"""A question about one clip, from the command line to the page."""

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from stages.ask import lettered, main
from stages.run.errors import UserError
from tests.evaluation.test_served_models import Server
from tests.model.tiny_models import picture
from tests.test_evaluate import PARAMS
from tests.video.clips import H264, encode
from tests.video.samples import PARAMS as FRAMES

QUESTION = "Which way <b>does</b> it move?"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parameters and `clip.mp4`, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "clip.mp4", frames=30, **H264)
    frames = FRAMES | {"factor": 16, "min_pixels": 2304, "max_pixels": 2304}
    settings = {"benchmark": {"defaults": frames}, "evaluate": {"defaults": PARAMS.model_dump(mode="json")}}
    (tmp_path / "params.yaml").write_text(json.dumps(settings))
    return tmp_path


def test_each_showing_is_answered_and_the_page_has_its_frames(
    place: Path, qwen2_5: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    main(["clip.mp4", QUESTION, "--model", str(qwen2_5), "--option", "left", "--option", "right", "--frames", "3"])
    told = "\n".join(caplog.messages)
    assert [name for name in ("IN ORDER", "SHUFFLED", "REVERSED", "WITHOUT FRAMES") if name not in told] == []
    assert "frames 1 2 3" in told
    assert "frames 3 2 1" in told
    assert "the question alone" in told
    assert "cut off after 6 tokens" in told
    page = (place / "evaluations" / "ask.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 9
    assert "Which way &lt;b&gt;does&lt;/b&gt; it move?" in page
    assert "<b>does</b>" not in page
    assert "B. right" in page


def test_a_served_model_is_asked_the_same_way(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Server(failing=0) as server:
        main(["clip.mp4", "Which?", "--model", "served", "--server", server.url, "--orders", "ordered", "blind"])
        contents = [request["messages"][0]["content"] for request in server.requests]
    [blind] = [content for content in contents if isinstance(content, str)]
    [parts] = [content for content in contents if not isinstance(content, str)]
    assert [part["type"] for part in parts] == ["image_url"] * 8 + ["text"]
    assert parts[-1]["text"] == blind
    assert "→ B" in "\n".join(caplog.messages)


@pytest.mark.parametrize(
    ("clip", "words", "said"),
    [
        ("nowhere.mp4", [], "nowhere.mp4: no such file"),
        ("https://example.org/clip.mp4", [], "is an address; download the clip and name the file"),
        ("text.mp4", [], r"\(unreadable\); the clip cannot be shown"),
        ("picture.png", [], "picture.png is a picture; only the frames of a clip have an order"),
        (".", [], "the clip cannot be shown"),
        ("clip.mp4", ["--option", "left"], "1 options; a question has none, or from 2 to 26"),
        ("clip.mp4", ["--option", "left", "--option", " "], "the question and each --option need words"),
        ("clip.mp4", ["--option", "up", "--option", "up"], "ambiguous options: .*; write each --option once"),
        ("clip.mp4", ["--frames", "0"], "--frames is 0; it must be from 1 to 1024"),
    ],
)
def test_what_cannot_be_asked_is_one_line(place: Path, qwen2_5: Path, clip: str, words: list[str], said: str) -> None:
    (place / "text.mp4").write_text("no video")
    Image.fromarray(picture().frames_THWC[0]).save(place / "picture.png")
    with pytest.raises(UserError, match=said) as error:
        main([clip, "Which?", "--model", str(qwen2_5), *words])
    assert "\n" not in str(error.value)
    assert not (place / "evaluations").exists()


def test_options_may_come_with_their_letters() -> None:
    assert lettered(["left", "right"]) == ("A. left", "B. right")
    assert lettered(["A. left", "B. right"]) == ("A. left", "B. right")
    assert lettered(["(b) left", "(a) right"]) == ("B. left", "A. right")


def test_a_cut_clip_is_refused_and_real_ones_are_asked(place: Path, qwen2_5: Path, testdata: Path) -> None:
    with pytest.raises(UserError, match=r"truncated"):
        main([str(testdata / "failing" / "video" / "cut.mkv"), "Which?", "--model", str(qwen2_5)])
    main([str(testdata / "video" / "small__webm.webm"), "Which?", "--model", str(qwen2_5)])
    assert (place / "evaluations" / "ask.html").exists()
