"""What a command line cannot do is one line, before a server starts."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.flows.conftest import edit
from tests.flows.forks import said

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


def lines(commands: Iterable[str], folder: Path, home: Path) -> dict[str, str]:
    """The standard errors of commands that fail."""
    answers = said(list(commands), folder, home)
    assert all(answer.status != 0 and answer.output == "" for answer in answers.values())
    return {command: answer.errors for command, answer in answers.items()}


@pytest.mark.integration
def test_a_refusal_is_one_line(finished: Path, tmp_path: Path) -> None:
    for command, errors in lines(REFUSED, finished, tmp_path).items():
        assert errors.startswith(REFUSED[command])
        assert errors.count("\n") == 1, errors


@pytest.mark.integration
def test_without_a_checkout_there_is_one_line(tmp_path: Path) -> None:
    commands = ("pipeline", "sweep a.b=1", "evaluate_checkpoint x", "keep sft", "overview", "runs")
    for errors in lines([f"flows.{command}" for command in commands], tmp_path, tmp_path).values():
        assert "no checkout at" in errors
        assert errors.count("\n") == 1, errors


@pytest.mark.integration
def test_a_params_file_that_cannot_be_read_is_one_line(finished: Path, tmp_path: Path) -> None:
    edit(finished, '"shapes": {', '"shapes": {{')
    for errors in lines(["flows.pipeline", "flows.overview"], finished, tmp_path).values():
        assert errors.count("\n") == 1, errors


@pytest.mark.integration
def test_a_port_is_a_number_that_a_port_can_have(tmp_path: Path) -> None:
    programs, ports = ("serve", "server_app", "report_server"), ("99999", "0", "abc", "-1")
    asked = {f"flows.{program} --port={port}": port for program in programs for port in ports}
    for command, errors in lines(asked, tmp_path, tmp_path).items():
        assert f"'{asked[command]}' is no port" in errors
