"""Item 2: values of params.yaml in the commands that DVC gives to a shell.

DVC expands its templates before any code of the project runs, so the cases run plain `dvc repro`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.run import work
from stages.run.command import command
from stages.run.params import Params
from tests.conftest import ROOT
from tests.flows.conftest import git

NAMES: list[object] = [
    "x$(touch canary)",
    "x`touch canary`",
    "x; touch canary",
    "x && touch canary",
    "x | touch canary",
    "x > canary",
    "x'$(touch canary)'",
    "x'; touch canary; '",
    "x'\"; touch canary; \"'",
    "x\\'; touch canary; \\'",
    'x"$(touch canary)"',
    "x\ntouch canary\n",
    "x'\ntouch canary\n'",
    "x\u2028touch canary",
    "x\x0btouch canary",
    "x\r touch canary",
    "${HOME}$(touch canary)",
    "${report.models}",
    "x #",
    "*",
    "~",
    "!x",
    "-x",
    "--help",
    "",
    "../../x",
    "x'$(touch canary)'/../sft",
]


RECORDER = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word" >> "$DVC_ROOT/words"; done
printf '\\1' >> "$DVC_ROOT/words"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's graph in a repository of its own, where `python` writes down its arguments."""
    root = tmp_path_factory.mktemp("shell") / "project"
    shutil.copytree(ROOT / "stages", root / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root)
    (root / "bin").mkdir()
    (root / "bin" / "python").write_text(RECORDER)
    (root / "bin" / "python").chmod(0o755)
    git(root, "init", "-q")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=root, check=True)
    return root


def reproduced(project: Path, stage: str, section: str, **values: list[object]) -> tuple[str, list[list[str]]]:
    """What `dvc repro` of one stage says with these values in a section, and the commands it ran."""
    yaml, words = YAML(typ="safe", pure=True), project / "words"
    params = yaml.load(ROOT / "params.yaml")
    params["report"] |= {"models": ["sft"], "benchmarks": ["shapes"], "frames": [8]}
    params[section] |= values
    yaml.dump(params, project / "params.yaml")
    words.unlink(missing_ok=True)
    repro = [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "--keep-going", stage]
    env = os.environ | {"PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(repro, cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0  # the recorder writes no output
    assert not list(project.rglob("canary*"))
    ran = words.read_text().split("\1")[:-1] if words.exists() else []
    return done.stdout + done.stderr, [one.split("\0") for one in ran]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("stage", "section", "key", "option"),
    [
        ("benchmark", "report", "benchmarks", "--name"),
        ("benchmark", "report", "frames", "--frames"),
        ("evaluate", "report", "models", "--name"),
        ("probe", "probe", "models", "--name"),
    ],
)
def test_a_name_reaches_the_stage_as_it_is_or_nothing_runs(
    project: Path, stage: str, section: str, key: str, option: str
) -> None:
    """DVC gives each line of a command to a shell of its own, and half a quoted name is no command."""
    names = [name for name in NAMES if name != "" or stage != "probe"]  # DVC ends at a name that is the whole key
    said, ran = reproduced(project, stage, section, **{key: names})
    assert said.count("Running stage") == len(names)
    arrived = [words[words.index(option) + 1] for words in ran]
    assert sorted(arrived) == sorted(name for name in map(str, names) if len(name.splitlines()) < 2)


def run(params: Params, name: str, out: Path) -> None:
    """A stage that writes one file."""
    out.write_text(name)


def start(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(work, "_claimed", [])  # work folders of other tests of this process
    monkeypatch.setattr(sys, "argv", ["stage", f"--name={name}", "--out", "{name}-{x}.txt"])
    (folder / "params.yaml").write_text("test_shell: {}")
    command(run)


@pytest.mark.parametrize("name", ["x'$(touch canary)'/../sft", "..", ".hidden", "a b", "a/b", "a\u202eb", "-a", ""])
def test_a_stage_puts_plain_names_alone_into_its_paths(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        start(monkeypatch, tmp_path, name)
    assert re.fullmatch(r"test_shell: --name is .*, which is no plain name; .*\n", capsys.readouterr().err)
    start(monkeypatch, tmp_path, "sft-2.b")
    assert (tmp_path / "sft-2.b-{x}.txt").read_text() == "sft-2.b"


@pytest.mark.integration
@pytest.mark.parametrize("value", [{"x$(touch canary)": 1}, ["x; touch canary"]])
def test_a_name_that_is_no_text_is_refused_before_a_command(project: Path, value: object) -> None:
    said, ran = reproduced(project, "evaluate", "report", models=[value])
    assert "Cannot interpolate data" in said
    assert ran == []


def test_no_template_stands_inside_a_command() -> None:
    """DVC quotes a whole `${item}` for the shell, and nothing else."""
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    commands = [stage["cmd"] for stage in stages.values()]
    assert any(" ${item} " in command for command in commands)
    assert [command for command in commands if "${" in command.replace(" ${item} ", " ")] == []
