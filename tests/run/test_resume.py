"""A training that is killed, or whose code or parameters are edited."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import ROOT
from tests.test_sft import QUICK, write_inputs
from tests.warm import Started

pytestmark = pytest.mark.integration
SECONDS = 300


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's stages and the inputs of SFT.

    SFT takes twelve steps, with a checkpoint after every second one.
    """
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    write_inputs(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps({"sft": QUICK | {"max_steps": 12, "save_steps": 2}}))
    return tmp_path


def start(project: Path, **environment: str) -> Started:
    names = {"samples": "sft.parquet", "frame-store": "frames", "model": "base", "out": "sft", "metrics": "sft.json"}
    flags = [part for name, path in {**names, "plot": "sft.csv"}.items() for part in (f"--{name}", path)]
    return warm.start("stages.sft", flags, project, project=project, environment=environment)


def run(project: Path, **environment: str) -> tuple[int, str]:
    started = start(project, **environment)
    return started.wait(SECONDS), started.said


def during(project: Path, act: Callable[[Started], object]) -> tuple[int, str]:
    """Run the stage, and act once its first checkpoint is there."""
    started = start(project)
    while started.poll() is None and not list(project.glob(".work/sft/*/*/checkpoint-2/complete.json")):
        time.sleep(0.01)
    act(started)
    return started.wait(SECONDS), started.said


def edit_code(project: Path) -> None:
    file = project / "stages" / "model" / "training.py"
    file.write_text(file.read_text() + "# a typo fixed\n")


def test_a_killed_training_goes_on_after_an_edit_of_its_code_only_when_told_to(project: Path) -> None:
    during(project, Started.kill)
    edit_code(project)
    status, errors = run(project)
    assert status == 1
    assert re.fullmatch(
        r"sft: \S+ holds an unfinished run, and its code has changed since: stages/model/training.py. Run again with "
        r"RESUME=1 .* FRESH=1 to start over\n",
        errors,
    )
    status, errors = run(project, RESUME="1")
    assert status == 0
    assert "RESUME=1: the run in" in errors
    assert "resuming from" in errors
    metrics = json.loads((project / "sft.json").read_text())
    assert metrics["resumed_with_changed"] == ["stages/model/training.py"]
    assert metrics["steps"] == 12


def test_fresh_starts_over_with_the_edited_code(project: Path) -> None:
    during(project, Started.kill)
    edit_code(project)
    status, errors = run(project, FRESH="1")
    assert status == 0
    assert "resuming from" not in errors
    assert "earlier runs keep" in errors
    assert "resumed_with_changed" not in json.loads((project / "sft.json").read_text())


def test_an_edit_of_plumbing_stops_nobody(project: Path) -> None:
    during(project, Started.kill)
    for name in ("run/progress.py", "launch.py"):
        file = project / "stages" / name
        file.write_text(file.read_text() + "# a comment\n")
    status, errors = run(project)
    assert status == 0
    assert "resuming from" in errors


def test_what_is_edited_while_it_trains_fails_the_run_at_its_end_and_loses_nothing(project: Path) -> None:
    status, errors = during(project, lambda _: edit_code(project))
    assert status == 1
    assert "stages/model/training.py changed while the stage ran, so its result does not count" in errors
    status, errors = run(project, RESUME="1")
    assert status == 0
    assert re.search(r"resuming from \S+/checkpoint-12\n", errors)
    assert "step 1/12" not in errors


def test_a_parameter_edited_while_it_trains_is_put_back_and_nothing_is_lost(project: Path) -> None:
    file = project / "params.yaml"
    text = file.read_text()
    status, errors = during(project, lambda _: file.write_text(text.replace("0.001", "0.002")))
    assert status == 1
    assert "params.yaml (the section of this stage) changed while the stage ran" in errors
    file.write_text(text)
    status, errors = run(project)
    assert status == 0
    assert re.search(r"resuming from \S+/checkpoint-12\n", errors)
