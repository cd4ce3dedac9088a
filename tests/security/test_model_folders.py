"""Item 11: model folders of strangers. Each part that could take the run down is refused in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.model.chat_template import LONGEST, BadTemplate, render
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model, load_tokenizer
from stages.run.errors import UserError

MESSAGES = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "?"}]}]
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folder(qwen2_5: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen2_5, tmp_path / "model"))


def change(file: Path, changes: dict[str, object]) -> None:
    """Merges changes into a file of JSON."""

    def merged(old: object, new: object) -> object:
        if isinstance(old, dict) and isinstance(new, dict):
            return old | {name: merged(old.get(name), value) for name, value in new.items()}
        return new

    file.write_text(json.dumps(merged(json.loads(file.read_text()), changes)))


def refused(line: str, load: Callable[[], object]) -> None:
    with pytest.raises(UserError, match=line) as error:
        load()
    assert "\n" not in str(error.value)


def test_a_good_template_gives_what_transformers_gives(model_dir: Path) -> None:
    tokenizer = load_tokenizer(model_dir)
    expected = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert render(tokenizer, MESSAGES) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "more than 5 s of CPU time",
            marks=pytest.mark.slow,
        ),
        ("{{ 'x' * 10**10 }}", "more than 1024 MiB of memory"),
        ("{{ '%10000000000d' % 1 }}", "more than 1024 MiB of memory"),
        (f"{{{{ 'x' * {LONGEST + 1} }}}}", "more than 1,048,576 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__ }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ raise_exception('a\nb') }}", "TemplateError: a b"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% bad", "TemplateSyntaxError"),
    ],
)
def test_a_hostile_template_is_bounded_and_one_line(folder: Path, template: str, reason: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(BadTemplate, match=reason) as error:
        render(load_tokenizer(folder), MESSAGES)
    assert "\n" not in str(error.value)


def test_a_template_sees_no_key_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a template leave its sandbox, its process knows nothing."""
    from stages.model import chat_template

    monkeypatch.setenv("SOME_API_KEY", "secret")
    assert "SOME_API_KEY" not in chat_template.KEPT
    monkeypatch.setattr(chat_template, "__file__", str(folder / "program.py"))
    (folder / "program.py").write_text("import os; print(sorted(os.environ.items()))")
    assert "secret" not in render(load_tokenizer(folder), [{"role": "user", "content": "another request"}])


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}},
        {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 1000}},
        {"decoder": {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 1000}},
        {"model": {"type": "Unigram", "vocab": [["a", 0.1]], "unk_id": 0}},
    ],
)
def test_a_tokenizer_does_what_the_supported_families_do_and_no_more(folder: Path, changes: dict[str, object]) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    refused("its tokenizer (has a step|splits text by an expression)", lambda: PromptBuilder(folder))


@pytest.mark.parametrize(
    "file",
    ["pipeline.json", "config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"],
)
@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"', "", "{", DEEP, "1" * 5000, "\ufeff{}"])
def test_a_file_that_holds_no_object_is_named(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    refused(f"{file}|{file.partition('.')[0]}", lambda: PromptBuilder(folder))


@pytest.mark.parametrize("pipeline", [{"prompt": 5}, {"prompt": "x"}, {"model": ["a"]}, {"more": 1}])
def test_a_pipeline_file_that_no_stage_wrote_is_refused(folder: Path, pipeline: dict[str, object]) -> None:
    (folder / "pipeline.json").write_text(json.dumps(pipeline))
    refused(r"pipeline\.json: \w+: ", lambda: PromptBuilder(folder))


def test_a_named_pipe_or_a_huge_file_is_never_read(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    refused("no readable config.json", lambda: PromptBuilder(folder))
    (folder / "config.json").unlink()
    with open(folder / "config.json", "wb") as file:
        file.truncate(1 << 40)
    refused("no readable config.json of a model: no file of at most 64 MiB", lambda: PromptBuilder(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_config": 5},
        {"vision_config": {"patch_size": 0}},
        {"vision_config": {"patch_size": "8"}},
        {"vision_config": {"spatial_merge_size": -2}},
        {"vision_config": {"depth": 10**7}},
        {"text_config": "x"},
        {"text_config": {"num_hidden_layers": 10**7}},
        {"text_config": {"hidden_size": 10**12}},
        {"text_config": {"vocab_size": -1}},
        {"text_config": {"num_attention_heads": 0}},
        {"text_config": {"rope_parameters": 5}},
    ],
)
def test_a_config_that_no_model_has_is_one_line(folder: Path, changes: dict[str, object]) -> None:
    change(folder / "config.json", changes)
    refused(r"\w", lambda: load_model(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"_attn_implementation": "kernels-community/evil"},
        {"text_config": {"_attn_implementation": "kernels-community/evil"}},
        {"quantization_config": {"quant_method": "fp8"}},
    ],
)
def test_a_config_that_would_fetch_code_is_refused(folder: Path, changes: dict[str, object]) -> None:
    change(folder / "config.json", changes)
    refused("would fetch code from the hub", lambda: load_model(folder))


@pytest.mark.parametrize(
    "statistics",
    [
        {"image_mean": "x"},
        {"image_mean": [0.5]},
        {"image_std": [0, 0, 0]},
        {"image_std": [-1, 1, 1]},
        {"image_std": {"a": 1}},
        {"image_mean": [1e400, 1, 1]},
    ],
)
def test_pixel_statistics_are_three_numbers(folder: Path, statistics: dict[str, object]) -> None:
    change(folder / "preprocessor_config.json", statistics)
    refused("no readable image processor", lambda: PromptBuilder(folder))
