import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.checkout import find_checkout
from flows.errors import UsageError
from tests.conftest import ROOT

MODULES = ["flows.pipeline", "flows.evaluate_checkpoint", "flows.sweep", "flows.watch", "flows.serve"]


def test_the_checkout_is_found_from_a_folder_inside(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "docs" / "images").mkdir(parents=True)
    assert find_checkout(tmp_path) == tmp_path
    assert find_checkout(tmp_path / "docs" / "images") == tmp_path


def test_a_folder_with_dvc_yaml_alone_is_no_checkout(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(UsageError, match=f"no checkout at {tmp_path}"):
        find_checkout(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_without_a_checkout_a_command_says_so_in_one_line_and_leaves_nothing(module: str, tmp_path: Path) -> None:
    arguments = {"flows.evaluate_checkpoint": ["models/sft"], "flows.sweep": ["tgrpo.alpha=0.1"]}.get(module, [])
    command = [sys.executable, "-m", module, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "home")}
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        command, cwd=tmp_path / "empty", env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"no checkout at {tmp_path / 'empty'}" in done.stderr
    assert list((tmp_path / "empty").iterdir()) == []
