from pathlib import Path

import pytest

from flows import parameters
from flows.errors import UsageError
from flows.experiment import override
from tests.conftest import ROOT

DVC_YAML = """\
stages:
  evaluate:
    matrix: {model: "${report.models}", frames: "${report.frames}"}
    cmd: evaluate --name ${item.model} --frames ${item.frames}
  ingest:
    cmd: ingest
    deps: ["${ingest.root}"]
"""
PLAIN = "report: {models: [sft, base-2], frames: [8, 16]}\ningest: {root: ../data/video_r1@2}\nother: 'a $b `c`'\n"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    return tmp_path


def test_plain_names_pass_and_values_outside_templates_are_free(home: Path) -> None:
    parameters.check_templates(home, PLAIN.replace("../", ""), "params.yaml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("8", '"8$(touch x)"'),
        ("sft", '"sft; rm x"'),
        ("sft", '"`id`"'),
        ("sft", '"a b"'),
        ("sft", '"a\\nb"'),
        ("sft", '"--flag"'),
        ("sft", '"${HOME}"'),
        ("[sft, base-2]", '{"a|b": 1}'),
        ("data/video_r1@2", '"x&y"'),
    ],
)
def test_a_value_that_a_shell_could_read_is_refused_by_its_name(home: Path, old: str, new: str) -> None:
    text = PLAIN.replace("../", "")
    assert old in text
    with pytest.raises(UsageError, match=r"params\.yaml: (report\.|ingest\.root).* puts it into a command") as refused:
        parameters.check_templates(home, text.replace(old, new, 1), "params.yaml")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "line 2 has an alias"),
        ("a: &a [*a]\n", "line 1 has an alias"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 20 deep"),
        ("a: [1\n", "cannot be read"),
        ("a: 1\na: 2\n", "cannot be read"),
    ],
)
def test_yaml_that_is_no_plain_data_is_one_line(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        parameters.load_yaml(text, "params.yaml")
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_bad_value_of_any_stage_is_found_before_the_first_one_starts() -> None:
    text = (ROOT / "params.yaml").read_text()
    parameters.check_values(ROOT, (text,), "params.yaml")
    texts = (override(text, {"tgrpo.alpha": "abc"}), override(text, {"sft.max_steps": -1}))
    with pytest.raises(UsageError) as refused:
        parameters.check_values(ROOT, texts, "params.yaml")
    first, second = str(refused.value).split("; ")
    assert first.startswith("params.yaml: 'tgrpo.alpha' is \"abc\": ")
    assert second.startswith("params.yaml: 'sft.max_steps' is -1: ")


def test_the_projects_own_parameters_and_profiles_are_plain() -> None:
    for path in [ROOT / "params.yaml", *(ROOT / "profiles").glob("*.yaml")]:
        parameters.check_templates(ROOT, path.read_text(), path.name)
