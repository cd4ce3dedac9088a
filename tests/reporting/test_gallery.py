"""Which examples are shown, and how an output is cut up."""

import io
from base64 import b64decode
from pathlib import Path

import numpy as np
from PIL import Image

from stages.data.sample import Reject, Sample
from stages.reporting.gallery import dropped_cards, in_turn, response_from, spread
from stages.reporting.pictures import LARGEST, data_address
from stages.run.files import write_table
from stages.video.frame_store import FRAME_KEYS_SCHEMA, FrameReader


def test_examples_come_from_each_kind_in_turn() -> None:
    assert in_turn([1, 2, 3, 4, 5], ["b", "b", "a", "b", "c"], 4) == [3, 1, 5, 2]
    assert in_turn([], [], 3) == []


def test_examples_are_spread_from_first_to_last() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread(range(2), 5) == [0, 1]
    assert spread(range(3), 1) == [0]


def test_an_output_is_cut_into_thought_and_answer_and_a_broken_one_is_kept_whole() -> None:
    whole = response_from("<think>it moves</think>\n<answer>B</answer>", "x", 1.0)
    assert (whole.thought, whole.answer) == ("it moves", "B")
    cut_off = response_from("<think>it mo", "x", 0.0)
    assert (cut_off.thought, cut_off.answer) == ("it mo", None)
    assert response_from("just B", "x", 0.0).thought == "just B"


def test_a_dropped_sample_is_shown_with_its_reason_and_thought_also_without_frames(tmp_path: Path) -> None:
    write_table(tmp_path / "frames.parquet", [], FRAME_KEYS_SCHEMA)
    sample = Sample(
        sample_id="s1",
        source="mine",
        data_type="video",
        problem_type="numerical",
        problem="How many?",
        answer="2",
        media_path="a.mp4",
        media_sha256="aa",
    )
    reject = Reject(sample_id="s1", stage="filter sft", reason="frames", detail="refused by the frames stage")
    answers = [{"sample_id": "s1", "text": "<think>I see two.</think><answer>2</answer>"}]
    cards = dropped_cards(
        [reject] * 3, answers, {"s1": sample}, FrameReader(tmp_path / "frames", tmp_path / "frames.parquet"), 1
    )
    assert list(cards) == ["filter sft: frames, 3 dropped"]
    [card] = cards["filter sft: frames, 3 dropped"]
    assert (card.strips, card.note, card.responses[0].thought) == ([], "refused by the frames stage", "I see two.")


def test_small_pictures_are_passed_on_and_large_ones_scaled_down() -> None:
    small, large = _jpeg(48, 48), _jpeg(420, 224)
    assert b64decode(data_address(small).partition(",")[2]) == small
    shown = Image.open(io.BytesIO(b64decode(data_address(large).partition(",")[2])))
    assert shown.size == (LARGEST, 60)


def _jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 128, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()
