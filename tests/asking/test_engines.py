"""How showings become rounds of prompts."""

from pathlib import Path

import pytest

from stages.asking import engines
from stages.asking.collect import plan
from stages.asking.engines import Showing, TransformersEngine
from stages.data.order import Order
from stages.data.outputs import Output
from stages.generation.sampling import Sampling
from tests.evaluation.prepared import asked
from tests.model.tiny_models import clip, question
from tests.rl.conftest import write_frames


def shown(sizes: dict[str, int], order: Order = "ordered") -> list[engines.Shown]:
    """Showings with prompts of so many tokens."""
    return [engines.Shown(Showing(asked(name), order), length, [0], 1, 8, 8) for name, length in sizes.items()]


def formed(showings: list[engines.Shown], batch_tokens: int) -> list[tuple[int, list[str]]]:
    """Rows and names of each round, for answers of 10 tokens."""
    rounds = engines.rounds(showings, 10, batch_tokens)
    return [(rows, [each.showing.key for each in asked_now]) for rows, asked_now in rounds]


def test_a_round_holds_one_order_the_longest_prompts_first_within_the_budget() -> None:
    showings = shown({"a": 30, "b": 10, "c": 11, "d": 29})
    assert formed(showings, 80) == [(2, ["ordered/a", "ordered/d", "ordered/c", "ordered/b"])]
    assert formed(showings, 1) == [(1, ["ordered/a", "ordered/d", "ordered/c", "ordered/b"])]
    both = formed(showings[:1] + shown({"a": 30}, "shuffled"), 80)
    assert both == [(2, ["ordered/a"]), (2, ["shuffled/a"])]


def test_the_next_round_has_more_rows_when_its_prompts_are_shorter() -> None:
    showings = shown({f"long-{index:02}": 70 for index in range(engines.ROUND)} | {"short": 10})
    assert [(rows, len(names)) for rows, names in formed(showings, 80)] == [(1, engines.ROUND), (4, 1)]


def test_several_answers_share_a_prompt_and_each_has_a_row_and_a_key() -> None:
    showings = [engines.Shown(Showing(asked(name), "blind", answers=3), 20, [], 0, 0, 0) for name in ("a", "b")]
    [(rows, now)] = engines.rounds(showings, 10, 100)  # 20 + 3 · 10 tokens for a prompt with its answers
    assert (rows, [key for each in now for key in each.showing.keys]) == (
        6,
        ["blind/a", "blind#1/a", "blind#2/a", "blind/b", "blind#1/b", "blind#2/b"],
    )


def test_the_progress_bar_ends_at_the_number_of_questions(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [question("clip-1"), question("clip-2", problem="word " * 200), question("clip-3"), question("clip-4")]
    reader = write_frames(tmp_path, {sample.sample_id: clip() for sample in samples})
    showings = [Showing(sample, order) for order in ("ordered", "shuffled") for sample in samples]
    engine = TransformersEngine(qwen2_5, reader, Sampling(4), 0, 400, "fp32", max_prompt_tokens=200)
    bars: list[Bar] = []
    monkeypatch.setattr(engines, "progress_bar", lambda total, unit: bars.append(Bar(total)) or bars[-1])
    kept: list[Output] = []
    engine.answer(showings, set(), kept.extend)
    assert [(output["status"] == "error") for output in kept].count(True) == 2
    done = {output["key"] for output in kept if output["order"] == "ordered"} | {"shuffled/clip-3"}
    again: list[Output] = []
    engine.answer(showings, done, again.extend)
    assert {output["key"] for output in again if output["status"] != "error"} == {"shuffled/clip-1", "shuffled/clip-4"}
    assert [(bar.total, bar.seen) for bar in bars] == [(8, 8), (8, 8)]


class Bar:
    """A progress bar that counts."""

    def __init__(self, total: int) -> None:
        self.total, self.seen = total, 0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, more: int) -> None:
        self.seen += more


def test_an_image_has_one_order_and_is_asked_blind_too() -> None:
    samples = [asked("v"), asked("i", data_type="image"), asked("gone")]
    assert [showing.key for showing in plan(samples, ["v", "i"], ("ordered", "reversed", "blind"))] == [
        "ordered/v",
        "reversed/v",
        "blind/v",
        "ordered/i",
        "blind/i",
    ]
