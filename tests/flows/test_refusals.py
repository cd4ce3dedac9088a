"""What a command line cannot do is one line, before a server starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import edit

REFUSED = {
    "flows.pipeline --profile nope": "pipeline: no profile 'nope'",
    "flows.pipeline --set tgrpo.alhpa=1": "pipeline: no parameter 'tgrpo.alhpa'",
    "flows.pipeline --set tgrpo.alpha": "pipeline: --set tgrpo.alpha: write NAME=VALUE",
    "flows.pipeline --set tgrpo.alpha=[": "pipeline: ",
    "flows.pipeline sft2": "pipeline: no stage 'sft2' in dvc.yaml; nearest: sft",
    "flows.pipeline sft --single --downstream": "pipeline: single and downstream exclude each other",
    "flows.sweep tgrpo.alhpa=1,2": "sweep: no parameter 'tgrpo.alhpa'",
    "flows.sweep tgrpo.alpha": "sweep: tgrpo.alpha: write NAME=VALUE,VALUE",
    "flows.evaluate_checkpoint out shapes": "evaluate: dvc.yaml's evaluation has no --benchmark",
    "flows.keep sft2": "keep: no stage 'sft2' in dvc.yaml",
    "flows.parameters --params nope.yaml": "parameters: nope.yaml does not exist",
}


def refusal(folder: Path, command: str) -> str:
    """The standard error of a command that fails."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": ""}
    run = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert run.stdout == ""
    return run.stderr


@pytest.mark.integration
@pytest.mark.parametrize(("command", "line"), REFUSED.items(), ids=list(REFUSED))
def test_a_refusal_is_one_line(finished: Path, command: str, line: str) -> None:
    said = refusal(finished, command)
    assert said.startswith(line)
    assert said.count("\n") == 1


@pytest.mark.integration
@pytest.mark.parametrize(
    "command", ["pipeline", "sweep a.b=1", "evaluate_checkpoint x", "keep sft", "overview", "runs"]
)
def test_without_a_checkout_there_is_one_line(tmp_path: Path, command: str) -> None:
    said = refusal(tmp_path, f"flows.{command}")
    assert "no checkout at" in said
    assert said.count("\n") == 1


@pytest.mark.integration
def test_a_params_file_that_cannot_be_read_is_one_line(finished: Path) -> None:
    edit(finished, '"shapes": {', '"shapes": {{')
    for command in ("flows.pipeline", "flows.overview"):
        assert refusal(finished, command).count("\n") == 1


@pytest.mark.integration
@pytest.mark.parametrize("program", ["serve", "server_app", "report_server"])
def test_a_port_is_a_number_that_a_port_can_have(tmp_path: Path, program: str) -> None:
    for port in ("99999", "0", "abc", "-1"):
        assert f"'{port}' is no port" in refusal(tmp_path, f"flows.{program} --port={port}")
