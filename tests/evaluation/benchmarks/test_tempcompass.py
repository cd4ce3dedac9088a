"""TempCompass: its records, and its scoring against real ratings."""

import json
from pathlib import Path

import pytest

from stages.data.prompt import question_text
from stages.data.sample import Sample
from stages.evaluation.benchmarks import tempcompass
from stages.evaluation.definition import PROFILES, Benchmark
from stages.run.files import read_json

BENCHMARK: Benchmark = tempcompass.BENCHMARK


@pytest.mark.parametrize(("task", "count"), [("multi-choice", 537), ("yes_no", 873), ("caption_matching", 486)])
def test_every_rating_equals_the_benchmarks_own(testdata: Path, task: str, count: int) -> None:
    videos = read_json(testdata / "golden" / "tempcompass_video_llava.json")["tasks"][task]
    rated = [(dim, item) for dims in videos.values() for dim, items in dims.items() for item in items]
    assert len(rated) == count
    for dim, item in rated:
        sample = _sample(task, dim, item["question"], item["gt-answer"])
        assert BENCHMARK.score(item["video-llm-prediction"], sample, "official") == item["rating"], item
        was_judged = not item["match_success"]
        assert BENCHMARK.judged(item["video-llm-prediction"], sample) == ("answer" if was_judged else "check"), item


def test_a_caption_that_only_a_judge_could_match_counts_zero() -> None:
    question = "Which fits?\nOption 1: A dog runs.\nOption 2: A dog sleeps."
    sample = _sample("caption_matching", "action", question, "Option 1: A dog runs.")
    assert BENCHMARK.score("Option 2: A dog runs.", sample, "official") == 0
    assert [BENCHMARK.score(text, sample, "official") for text in ("Option 1", "1", "1.", "A dog runs.")] == [
        1,
        1,
        1,
        1,
    ]


def test_a_line_of_the_question_that_is_no_option_matches_nothing() -> None:
    question = "Which fits?\n\nOption 1: A dog runs.\nOption 2: A dog sleeps."
    sample = _sample("caption_matching", "action", question, "Option 2: A dog sleeps.")
    assert [BENCHMARK.score(text, sample, "official") for text in ("Option 2", "Option 1", "")] == [1, 0, 0]


def test_the_papers_profile_wants_the_answer_itself_whatever_the_task() -> None:
    sample = _sample(
        "caption_matching",
        "action",
        "Which fits?\nOption 1: A dog runs.\nOption 2: A dog sleeps.",
        "Option 1: A dog runs.",
    )
    assert [
        BENCHMARK.score(text, sample, "video-r1") for text in ("Option 1: A dog runs.", "Option 1: A dog", None)
    ] == [1, 0, 0]


def test_the_papers_file_names_no_task_but_its_questions_show_it(tmp_path: Path) -> None:
    choice = {
        "problem_type": "multiple choice",
        "problem": "What happens?",
        "options": ["A. it grows", "B. it shrinks"],
        "solution": "B",
    }
    questions = {
        "multi-choice/order": choice,
        "yes_no/order": {"problem_type": "free-form", "problem": "Does it grow?", "solution": "<answer>no</answer>"},
        "caption_matching/order": {"problem_type": "free-form", "problem": "Which?\nCaption A: Up.\nCaption B: Down."}
        | {"solution": "<answer>Caption B: Down.</answer>"},
        "captioning/order": {
            "problem_type": "free-form",
            "problem": "Describe it.",
            "solution": "<answer>Down.</answer>",
        },
    }
    common = {"data_type": "video", "path": "./Evaluation/TempCompass/videos/v1.mp4", "dim": "order"}
    rows = [common | question | {"problem_id": number} for number, question in enumerate(questions.values())]
    (tmp_path / "eval_tempcompass.json").write_text(json.dumps(rows))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v1.mp4").touch()
    assert [sample.category for sample in tempcompass.read(tmp_path) if isinstance(sample, Sample)] == list(questions)


def test_captioning_is_not_scored_without_a_judge() -> None:
    sample = _sample("captioning", "speed", "Describe the video.", "B. slow motion")
    assert [BENCHMARK.score("It is in slow motion.", sample, profile) for profile in PROFILES] == [None, None]


def test_no_answer_scores_zero_in_every_rule_task() -> None:
    for task in ("multi-choice", "yes_no", "caption_matching"):
        assert BENCHMARK.score(None, _sample(task, "order", "Which?\nA. x\nB. y", "A. x"), "official") == 0


def test_the_official_layout_is_read_with_task_and_dimension(tmp_path: Path) -> None:
    rows = {
        "multi-choice": {"question": "What happens?\nA. it grows\nB. it shrinks", "answer": "B. it shrinks"},
        "yes_no": {"question": "Does it grow?", "answer": "no"},
        "captioning": {"question": "Describe it.", "mc_question": "What?\nA. a\nB. b", "mc_answer": "A. a"},
    }
    for task, row in rows.items():
        (tmp_path / task).mkdir()
        (tmp_path / task / "test.jsonl").write_text(json.dumps({"video_id": "v1", "dim": "order"} | row))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v1.mp4").touch()
    samples = {sample.category: sample for sample in tempcompass.read(tmp_path) if isinstance(sample, Sample)}
    assert sorted(samples) == ["captioning/order", "multi-choice/order", "yes_no/order"]
    assert len({sample.sample_id for sample in samples.values()}) == 3  # also where records have no ids
    choice = samples["multi-choice/order"]
    assert (choice.problem, choice.options, choice.answer) == ("What happens?", ("A. it grows", "B. it shrinks"), "B")
    assert BENCHMARK.score("B. it shrinks", choice, "official") == 1
    caption = samples["captioning/order"]
    assert (caption.problem, caption.options, caption.answer) == ("Describe it.", ("What?", "A. a", "B. b"), "A. a")
    assert "A. a" not in question_text(caption, "video-r1")  # the judge sees the options, the model does not
    assert BENCHMARK.judged("It is a.", caption) == "caption"


def _sample(task: str, dim: str, question: str, answer: str) -> Sample:
    is_choice = task == "multi-choice"
    return Sample(
        sample_id="q",
        source="tempcompass",
        data_type="video",
        problem_type="multiple choice" if is_choice else "free-form",
        problem=question,
        options=tuple(question.split("\n")[1:]) if is_choice else (),
        answer=answer[:1] if is_choice else answer,
        media_path="m",
        media_sha256="0",
        category=f"{task}/{dim}",
    )
