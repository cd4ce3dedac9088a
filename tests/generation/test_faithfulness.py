from pathlib import Path

import torch

from stages.asking.exchange import TOGETHER, changed_answers
from stages.generation.faithfulness import Exchange, answers_change
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.video.frame_store import FrameReader
from tests.model.tiny_models import clip, question, write_qwen2_5
from tests.rl.conftest import write_frames

NOTES = {"A": "<think>it is red,", "B": "<think>it is blue,"}


def response(notes: str, answer: str) -> str:
    return f"{NOTES[notes]} so it is {answer}.</think>\n<answer>{answer}</answer>"


def taught(root: Path, follows_notes: bool) -> tuple[Exchange, list[bool]]:
    """Whether the answer changes in a model that was taught to follow its notes, or the frames alone."""
    sample = question("clip", answer="A")
    reader = write_frames(root, {"clip": clip()})
    write_qwen2_5(root / "model")
    model, builder = load_model(root / "model"), PromptBuilder(root / "model")
    prompt = builder(sample, reader.load("clip"))
    texts = [response("A", "A"), response("B", "B" if follows_notes else "A")]
    batch = builder.normalised(builder.batch([prompt] * 2, [builder.completion_ids(text) for text in texts]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(root / "model")
    exchange = Exchange(sample, prompt, response("A", "A"), response("B", "B"))
    return exchange, answers_change(model, builder, [exchange], 40, "default", 0.5)


def test_an_answer_that_follows_its_notes_changes_with_them(tmp_path: Path) -> None:
    assert taught(tmp_path, follows_notes=True)[1] == [True]


def test_an_answer_that_follows_the_frames_alone_stays(tmp_path: Path) -> None:
    assert taught(tmp_path, follows_notes=False)[1] == [False]


def test_a_models_folder_gives_the_same_for_more_thoughts_than_are_exchanged_together(tmp_path: Path) -> None:
    exchange, changed = taught(tmp_path, follows_notes=True)
    outputs = [(exchange.sample, exchange.own, exchange.other)] * (TOGETHER + 1)
    reader = FrameReader(tmp_path / "frames", tmp_path / "frames.parquet")
    assert changed_answers(tmp_path / "model", reader, outputs, 40) == changed * (TOGETHER + 1)


def test_thoughts_that_are_not_closed_are_left_out(qwen2_5: Path, tmp_path: Path) -> None:
    reader = write_frames(tmp_path, {"clip": clip()})
    builder = PromptBuilder(qwen2_5)
    prompt = builder(question("clip"), reader.load("clip"))
    exchanges = [
        Exchange(question("clip"), prompt, "<think>open", response("A", "A")),
        Exchange(question("clip"), prompt, response("A", "A"), "no thought"),
    ]
    assert answers_change(load_model(qwen2_5), builder, exchanges, 4, "default", 0.5) == []
