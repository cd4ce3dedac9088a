"""Conversations of LLaMA-Factory, ms-swift, LLaVA and OpenAI as records."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.data.sample import Reject, Sample
from stages.data.sources import Source, read_source

HUMAN = {"from": "human", "value": "<video>Which way does it move?"}
GPT = {"from": "gpt", "value": "To the left."}
USER = {"role": "user", "content": "<video>Which way does it move?"}
ASSISTANT = {"role": "assistant", "content": "To the left."}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def read(root: Path, record: dict[str, Any], **source: Any) -> Sample | Reject:
    (root / "r.jsonl").write_text(json.dumps(record))
    (draft,) = read_source(Source(name="s", records="r.jsonl", **source), root)
    return draft


PARTS = [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "Which way does it move?"}]
URL_PARTS = [PARTS[1], {"type": "video_url", "video_url": {"url": "file://a.mp4"}}]


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": [HUMAN, GPT], "videos": ["a.mp4"]},
        {"conversations": [HUMAN, GPT], "video": "a.mp4"},
        {"conversations": [HUMAN, GPT], "videos": "a.mp4", "images": [], "system": "Be brief."},
        {"messages": [SYSTEM, USER, ASSISTANT], "videos": ["a.mp4"], "images": []},
        {"messages": [{"role": "user", "content": PARTS}, ASSISTANT]},
        {"messages": [{"role": "user", "content": URL_PARTS}, ASSISTANT]},
        {
            "messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "To the left."}]}],
            "path": ["a.mp4"],
        },
        {"messages": [{"role": "user", "content": "Which way does it move?\n<video>"}, ASSISTANT], "videos": ["a.mp4"]},
    ],
)
def test_a_question_an_answer_and_one_medium_are_a_sample(root: Path, record: dict[str, Any]) -> None:
    sample = read(root, record)
    assert isinstance(sample, Sample), sample
    assert (sample.problem, sample.answer) == ("Which way does it move?", "To the left.")
    assert (sample.problem_type, sample.data_type) == ("free-form", "video")
    assert sample.media_path == str(root / "a.mp4")


def test_a_thought_tags_options_and_an_id_are_taken_over(root: Path) -> None:
    said = "<think>It moves to the left.</think>\n<answer>B</answer>"
    record = {
        "id": "q-17",
        "conversations": [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": said}],
        "images": ["a.jpg"],
        "options": ["A. right", "B. left"],
    }
    sample = read(root, record)
    assert isinstance(sample, Sample), sample
    assert (sample.sample_id, sample.problem, sample.answer) == ("s-q-17", "Which?", "B")
    assert (sample.process, sample.data_type) == ("<think>It moves to the left.</think>", "image")
    assert sample.problem_type == "multiple choice"
    numbered = read(
        root,
        {"messages": [USER, {"role": "assistant", "content": "3"}], "videos": ["a.mp4"]},
        defaults={"problem_type": "numerical"},
    )
    assert isinstance(numbered, Sample)
    assert numbered.problem_type == "numerical"


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"videos": ["a.mp4", "b.mp4"]}, "several media", "names 2 files, a question has one: ['a.mp4', 'b.mp4']"),
        ({"images": ["a.jpg"]}, "several media", "names 2 files"),
        ({"audios": ["a.wav"]}, "several media", "names 2 files"),
        ({"videos": [["a.jpg", "b.jpg"]]}, "several media", "a.jpg"),
        (
            {"messages": [USER | {"content": "<video><video>Which?"}, ASSISTANT]},
            "several media",
            "more than one <video>",
        ),
        ({"videos": []}, "invalid record", "missing or empty: path; the columns found are messages, videos"),
        ({"messages": [USER]}, "not one question", "1 questions and 0 answers; write a record for each question"),
        ({"messages": [USER, ASSISTANT, USER, ASSISTANT]}, "not one question", "2 questions and 2 answers"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "invalid record", "'tool', not of system, user or"),
        ({"messages": [USER, "x"]}, "invalid record", "a turn of the conversation is 'x'"),
        ({"messages": [USER | {"content": [{"type": "audio"}]}, ASSISTANT]}, "invalid record", "'audio'}\", not text"),
        ({"messages": [USER | {"content": "<image>Which?"}, ASSISTANT]}, "special token", "problem holds <image>"),
        ({"messages": [USER | {"content": "Is <video> left?"}, ASSISTANT]}, "special token", "problem holds <video>"),
    ],
)
def test_other_conversations_are_refused_by_name(root: Path, changes: dict[str, Any], reason: str, detail: str) -> None:
    reject = read(root, {"messages": [USER, ASSISTANT], "videos": ["a.mp4"]} | changes)
    assert isinstance(reject, Reject), reject
    assert (reject.reason, detail in reject.detail) == (reason, True), reject.detail


def test_a_path_as_a_list_of_one_is_that_path_and_a_longer_one_is_refused(root: Path) -> None:
    record = {"problem": "Which?", "problem_type": "free-form", "solution": "left", "path": ["a.mp4"]}
    sample = read(root, record)
    assert isinstance(sample, Sample), sample
    assert sample.media_path == str(root / "a.mp4")
    reject = read(root, record | {"path": ["a.mp4", "b.mp4"]})
    assert isinstance(reject, Reject)
    assert reject.reason == "several media"
