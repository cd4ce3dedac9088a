"""Video-MME-v2: its records, and the points of a group."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.data.sample import Reject, Sample
from stages.evaluation.benchmarks import videomme_v2
from stages.evaluation.predictions import PredictionRow
from tests.evaluation.toy import scored_row

OPTIONS = "\n".join(f"{letter}. option {letter}" for letter in "ABCDEFGH")
CHAIN, FORK, PAIR = "logic [1, 2, 3, 4]", "logic [1, [2, 3], 4]", "logic [[1, 2], 3, 4]"


def test_the_official_records_are_read_with_the_level_of_their_group(tmp_path: Path) -> None:
    first = [record("001", number, "relevance", "4", "2" if number == 4 else None) for number in range(1, 5)]
    second = [record("002", number, "logic", "[1,[2,3],4]", None) for number in range(1, 5)]
    second[2] |= {"options": "A. Yes.\nB. No.\nC. Undetermined.", "answer": "C"}  # 58 questions have fewer than eight
    unknown = record("003", 1, "logic", "[[1, 2, 3, 4]]", None)
    unnumbered = record("003", 5, "relevance", "4", None)
    pq.write_table(pa.Table.from_pylist([*first, *second, unknown, unnumbered]), tmp_path / "test.parquet")
    (tmp_path / "videos").mkdir()
    for video in ("001", "002", "003"):
        (tmp_path / "videos" / f"{video}.mp4").touch()
    found = list(videomme_v2.read(tmp_path))
    samples = [each for each in found if isinstance(each, Sample)]
    assert [each.sample_id for each in samples[:2]] == ["videomme_v2-001-1", "videomme_v2-001-2"]
    assert [each.category for each in samples] == ["level 2/relevance"] * 4 + [FORK] * 4
    assert samples[0].category in videomme_v2.BENCHMARK.temporal
    assert (samples[0].problem, samples[0].options[7], samples[0].answer) == ("Which one?", "H. option H", "H")
    assert (samples[6].options[-1], samples[6].answer) == ("C. Undetermined.", "C")
    assert [(each.reason, each.detail) for each in found if isinstance(each, Reject)] == [
        ("invalid record", "no scoring is known for the group logic [[1, 2, 3, 4]]"),
        ("invalid record", "the question's id 003-5 has no number from 1 to 4"),
    ]
    assert {videomme_v2.together(each.sample_id) for each in samples} == {"001", "002"}


@pytest.mark.parametrize(
    ("kind", "right", "points"),
    [
        ("relevance", "0000", 0),
        ("relevance", "0101", 4 / 16),
        ("relevance", "1101", 9 / 16),
        ("relevance", "1111", 1),
        (CHAIN, "0111", 0),
        (CHAIN, "1011", 1 / 16),
        (CHAIN, "1101", 4 / 16),
        (CHAIN, "1110", 9 / 16),
        (FORK, "0111", 0),
        (FORK, "1001", 1 / 12),
        (FORK, "1101", 4 / 12),
        (FORK, "1011", 4 / 12),
        (FORK, "1110", 7 / 12),
        (PAIR, "0011", 0),
        (PAIR, "0111", 1 / 10),
        (PAIR, "1011", 1 / 10),
        (PAIR, "1101", 2 / 10),
        (PAIR, "1110", 5 / 10),
        (PAIR, "1111", 1),
    ],
)
def test_the_points_of_a_group_are_those_of_the_official_maps(kind: str, right: str, points: float) -> None:
    by_number = {number: each == "1" for number, each in enumerate(right, 1)}
    assert videomme_v2.group_score(kind, by_number) == pytest.approx(points)


def test_the_scores_are_means_over_whole_groups() -> None:
    rows = [
        *answers("001", "level 2/relevance", "1100"),
        *answers("002", f"level 3/{CHAIN}", "1110"),
        *answers("003", PAIR, "1111"),
        *answers("004", "level 2/relevance", "1111")[1:],  # one question has no row
    ]
    shuffled = scored_row("videomme_v2-001-3", "shuffled", 1.0, category="level 2/relevance")
    found = videomme_v2.figures([*rows, shuffled], "official")
    assert {name: (each.value, each.n) for name, each in found.items()} == {
        "non_linear_score": (pytest.approx((4 / 16 + 9 / 16 + 1) / 3), 3),
        "relevance_score": (pytest.approx(4 / 16), 1),
        "logic_score": (pytest.approx((9 / 16 + 1) / 2), 2),
        "level_2_score": (pytest.approx(4 / 16), 1),
        "level_3_score": (pytest.approx(9 / 16), 1),
    }


def record(video: str, number: int, kind: str, structure: str, level: str | None) -> dict[str, str | None]:
    """All fields of the official file; each is a text."""
    fields = {"video_id": video, "question_id": f"{video}-{number}", "group_type": kind, "group_structure": structure}
    fields |= {"url": f"https://www.youtube.com/watch?v={video}", "second_head": "Order", "third_head": "Counting"}
    return fields | {"question": "Which one?", "options": OPTIONS, "answer": "H", "level": level}


def answers(video: str, category: str, right: str) -> list[PredictionRow]:
    return [
        scored_row(f"videomme_v2-{video}-{number}", official=float(each), category=category)
        for number, each in enumerate(right, 1)
    ]
