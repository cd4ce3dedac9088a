"""Vinoground: its files, and scores of pairs and groups."""

import json
from itertools import product
from pathlib import Path

import pytest

from stages.data.sample import Sample
from stages.evaluation.benchmarks import vinoground
from stages.evaluation.predictions import PredictionRow
from tests.evaluation.toy import scored_row


@pytest.mark.parametrize("places", [("", ""), ("vinoground_videos/", "vinoground_videos_concated/")])
def test_both_official_files_are_read_and_their_questions_belong_together(
    places: tuple[str, str], tmp_path: Path
) -> None:
    """The official code has them beside the folders of clips, lmms-eval in these folders."""
    text = {"idx": "0_pos", "question": "Which caption fits?\nA. first up\nB. first down", "GT": "A"}
    video = {"idx": "0_neg", "question": "Which half fits?\nA. the first\nB. the second", "GT": "B"}
    for file, record, clip in (
        (f"{places[0]}vinoground_textscore.json", text, "vinoground_videos/0_pos.mp4"),
        (f"{places[1]}vinoground_videoscore.json", video, "vinoground_videos_concated/0_neg.mp4"),
    ):
        (tmp_path / clip).parent.mkdir()
        (tmp_path / clip).touch()
        (tmp_path / file).write_text(json.dumps([record | {"video_name": clip}]))
    first, second = vinoground.read(tmp_path)
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (first.sample_id, first.category, first.answer) == ("vinoground-0_pos-text", "text", "A")
    assert (second.sample_id, second.category, second.answer) == ("vinoground-0_neg-video", "video", "B")
    assert first.options == ("A. first up", "B. first down")
    assert vinoground.together(first.sample_id) == vinoground.together(second.sample_id) == "0"


def test_a_pair_needs_both_answers_and_a_group_all_four() -> None:
    # 0: all right. 1: text right, one video question wrong. 2: all wrong. 3: one question has no row.
    right = {"0": (1, 1, 1, 1), "1": (1, 1, 1, 0), "2": (0, 0, 0, 0)}
    rows = [row for number, scores in right.items() for row in questions(number, scores)]
    rows += questions("3", (1, 1, 1, 1))[:3]
    found = vinoground.figures(rows, "official")
    assert {name: (each.value, each.n) for name, each in found.items()} == {
        "text_score": (pytest.approx(3 / 4), 4),
        "video_score": (pytest.approx(1 / 3), 3),
        "group_score": (pytest.approx(1 / 3), 3),
    }


def questions(number: str, scores: tuple[int, int, int, int]) -> list[PredictionRow]:
    names = [f"vinoground-{number}_{side}-{kind}" for kind, side in product(("text", "video"), ("pos", "neg"))]
    return [scored_row(name, official=float(score)) for name, score in zip(names, scores, strict=True)]
