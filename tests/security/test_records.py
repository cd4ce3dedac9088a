"""Records changed at random.

Each becomes a sample or a reject, or the file is one line.
"""

import json
import random
from pathlib import Path

import pytest

from stages.data.sample import Reject, Sample
from stages.data.sources import Source, read_source
from stages.run.errors import UserError

RECORD = {
    "problem_id": 1,
    "problem": "Which way?",
    "problem_type": "multiple choice",
    "options": ["B、right", "A、left"],
    "solution": "<answer>A</answer>",
    "data_type": "video",
    "path": "a.mp4",
    "clip_start": 1.5,
}
PARTS = [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "Which?"}]
CONVERSATION = {
    "messages": [{"role": "user", "content": PARTS}, {"role": "assistant", "content": "B"}],
    "images": [],
}
VALUES = [
    *(None, 0, -1, float("inf"), float("nan"), True, "", [], {}, [[]], [{}], "a.mp4", ["a.mp4"], 10**30, "x" * 30_000),
    *(
        {"path": "a.mp4"},
        {"bytes": "x"},
        "\ud800",
        "\0",
        ["A. x", 5, None],
        {"A": "x", "B": ["y"]},
        [1, 2],
        "left|right",
    ),
]


def changed(value: object, draw: random.Random) -> object:
    """The value with some of its parts replaced or left out."""
    if draw.random() < 0.06:
        return draw.choice(VALUES)
    if isinstance(value, dict):
        return {name: changed(inner, draw) for name, inner in value.items() if draw.random() > 0.02}
    return [changed(inner, draw) for inner in value] if isinstance(value, list) else value


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes with a few of them replaced."""
    found = bytearray(data)
    for _ in range(draw.randrange(4)):
        found[draw.randrange(len(found))] = draw.randrange(256)
    return bytes(found)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_record_is_it_becomes_a_sample_or_a_reject_or_one_line(tmp_path: Path, seed: int) -> None:
    draw, outcomes = random.Random(seed), set[str]()
    (tmp_path / "a.mp4").write_bytes(b"x")
    for number in range(300):
        rows = [changed(draw.choice([RECORD, CONVERSATION]), draw) for _ in range(4)]
        text = json.dumps(rows) if number % 2 else "\n".join(map(json.dumps, rows))
        if table := number % 3 == 0:
            cells = [[str(value) for value in row.values()] for row in rows if isinstance(row, dict)]
            text = "\n".join([",".join(RECORD), *map(",".join, cells)])
        path = tmp_path / ("r.csv" if table else "r.json")
        path.write_bytes(
            damaged(text.encode(errors="replace"), draw) if number % 5 == 0 else text.encode(errors="replace")
        )
        try:
            for draft in read_source(Source(name="s", records=path.name), tmp_path, tmp_path / "embedded"):
                assert draft.model_dump_json()
                outcomes.add(draft.reason if isinstance(draft, Reject) else type(draft).__name__)
        except UserError as error:
            outcomes.add(f"{len(str(error).splitlines())} line")
    assert {Sample.__name__, "1 line", "invalid record"} <= outcomes
    assert not {"0 line", "2 line", "3 line"} & outcomes
