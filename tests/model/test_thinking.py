"""Chat templates that open a thought for the model, as Qwen3.5's does."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from transformers.models.auto.tokenization_auto import AutoTokenizer

from stages.base import BaseParams, run
from stages.data.grading import extract_answer, is_well_formed
from stages.data.prompt import question_text
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, load_tokenizer, resolve
from stages.model.save import save_model
from stages.run.errors import UserError
from tests.model.tiny_models import clip, picture, question, write_glm46v_flash, write_random

TARGET = "<think>it moves right.</think>\n<answer>B</answer>"
OPENED, CLOSED = "<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\n<think>\n\n</think>\n\n"


GLM, GLM_OFF = "<|assistant|>\n", "/nothink<|assistant|>\n<think></think>\n"
WRITERS = {"qwen3_5": partial(write_random, "qwen3_5"), "glm46v_flash": write_glm46v_flash}
ENDS = {"qwen3_5": {None: OPENED, True: OPENED, False: CLOSED}, "glm46v_flash": {None: GLM, True: GLM, False: GLM_OFF}}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("thinking")
    return {name: write(folder / name) for name, write in WRITERS.items()}


@pytest.fixture
def source(sources: dict[str, Path]) -> Path:
    return sources["qwen3_5"]


def asked(source: Path, folder: Path, enable_thinking: bool | None) -> PromptBuilder:
    """The builder of a base model that is asked so."""
    run(BaseParams(model=str(source), enable_thinking=enable_thinking), folder, folder.with_suffix(".json"))
    return PromptBuilder(folder)


def prompt_text(builder: PromptBuilder) -> str:
    return builder.tokenizer.decode(builder(question(), clip(frames=2)).ids_P)


def test_a_response_begins_with_the_thought_that_the_template_has_opened(source: Path, tmp_path: Path) -> None:
    builder = asked(source, tmp_path / "base", None)
    assert prompt_text(builder).endswith(OPENED)
    taught = builder.completion_ids(TARGET)
    assert builder.tokenizer.decode(taught) == "it moves right.</think>\n<answer>B</answer><|im_end|>"
    response = builder.decode(taught)
    assert response == "<think>\nit moves right.</think>\n<answer>B</answer>"
    assert is_well_formed(response)
    assert extract_answer(response) == "B"


@pytest.mark.parametrize("name", WRITERS)
def test_with_thinking_off_the_model_writes_the_whole_thought_itself(
    sources: dict[str, Path], name: str, tmp_path: Path
) -> None:
    builder = asked(sources[name], tmp_path / "base", False)
    assert prompt_text(builder).endswith(ENDS[name][False])
    taught = builder.completion_ids(TARGET)
    assert builder.tokenizer.decode(taught) == TARGET + builder.family.end_token
    assert builder.decode(taught) == TARGET


@pytest.mark.parametrize("enable_thinking", [None, True, False])
@pytest.mark.parametrize("name", WRITERS)
def test_a_saved_model_asks_every_program_in_the_same_way(
    sources: dict[str, Path], tmp_path: Path, name: str, enable_thinking: bool | None
) -> None:
    opened = ENDS[name][enable_thinking]
    asked(sources[name], tmp_path / "base", enable_thinking)
    for former, folder in (("base", "sft"), ("sft", "tgrpo")):
        save_model(load_model(tmp_path / former), resolve(tmp_path / former), tmp_path / folder)
        assert prompt_text(PromptBuilder(tmp_path / folder)).endswith(opened)
        elsewhere = AutoTokenizer.from_pretrained(tmp_path / folder).apply_chat_template(
            [{"role": "user", "content": "What?"}], tokenize=False, add_generation_prompt=True
        )
        assert elsewhere.endswith(opened)
    templates = [load_tokenizer(tmp_path / folder).chat_template for folder in ("sft", "tgrpo")]
    assert templates[0] == templates[1]  # the setting is written once


def test_a_templates_setting_holds_whatever_its_caller_passes(source: Path, tmp_path: Path) -> None:
    builder = asked(source, tmp_path / "base", False)
    text = builder.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What?"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    assert text.endswith(CLOSED)


def test_a_switch_beside_the_question_is_tokenised_with_it(sources: dict[str, Path], tmp_path: Path) -> None:
    builder = asked(sources["glm46v_flash"], tmp_path / "base", False)
    sample = question(data_type="image", problem="Is it <", options=())
    for shown in (True, False):
        content = [{"type": "image"}] * shown + [{"type": "text", "text": "Is it <"}]
        text = builder.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        assert "Is it </nothink" in text
        order = np.arange(int(shown))
        ids = builder(sample, picture(height=16, width=16), order).ids_P  # one merged patch: one placeholder
        assert ids.tolist() == builder.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("order", "shown"), [([0, 1], "<|vision_end|> What?"), ([], "<|im_start|>user\nWhat?")], ids=["shown", "blind"]
)
def test_white_space_goes_from_a_question_where_the_template_takes_it_off(
    source: Path, order: list[int], shown: str
) -> None:
    builder, sample = PromptBuilder(source), question(problem=" What? ", options=("A. left", "B. right \n"))
    text = builder.tokenizer.decode(builder(sample, clip(frames=2), np.array(order, dtype=int)).ids_P)
    assert f"{shown} \nA. left\nB. right<|im_end|>\n" in text
    content = [{"type": "video"}] * bool(order) + [{"type": "text", "text": question_text(sample, "plain")}]
    expected = builder.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert expected.partition("What?")[2] == text.partition("What?")[2]


def test_a_model_folder_that_says_how_to_think_in_other_words_is_refused(source: Path, tmp_path: Path) -> None:
    asked(source, tmp_path / "base", True)
    file = tmp_path / "base" / "pipeline.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"enable_thinking": "yes"}))
    with pytest.raises(UserError, match=r"enable_thinking: .*valid boolean"):
        resolve(tmp_path / "base")
