"""Clones, branches and a remote: each commit's dvc.lock fits its files."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import edit, git, run_dvc
from tests.flows.recorded import record, record_project


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the branches main and few, pushed to a DVC remote.

    main compares more models and numbers of frames than few, and both hold out all benchmarks.
    """
    folder = tmp_path_factory.mktemp("origin")
    root = record_project(folder / "project")
    edit(root, "frames: [8]", "frames: [8, 16]")
    edit(root, "held_out: data/samples.parquet", "held_out: data/benchmarks")
    run_dvc(root, "remote", "add", "--default", "shared", str(folder / "remote"))
    record(root)
    run_dvc(root, "push", "-q")
    git(root, "switch", "-q", "-c", "few")
    edit(root, "models: [base, sft, tgrpo]", "models: [sft, tgrpo]")
    edit(root, "frames: [8, 16]", "frames: [8]")
    run_dvc(root, "checkout", "-q")
    record(root)
    run_dvc(root, "push", "-q")
    return root


@pytest.mark.integration
def test_a_switch_of_branch_leaves_no_result_of_the_other_one(origin: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    results = {}
    for branch in ("main", "few", "main", "few"):
        git(clone, "switch", "-q", branch)
        run_dvc(clone, "pull", "-q")
        run_dvc(clone, "checkout", "-q")
        assert "up to date" in run_dvc(clone, "status"), branch
        assert git(clone, "status", "--short") == ""
        results[branch] = sorted(path.name for path in (clone / "predictions").iterdir())
    assert results["few"] == ["sft-shapes-8.parquet", "tgrpo-shapes-8.parquet"]
    assert len(results["main"]) == 6


@pytest.mark.integration
@pytest.mark.parametrize("branch", ["main", "few"])
def test_the_check_of_the_page_on_ci_passes_without_data_and_fails_after_an_edit(
    origin: Path, tmp_path: Path, branch: str
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--branch", branch, str(origin), str(clone))
    assert not (clone / "data").exists()
    assert run_ci_check(clone) == 0
    edit(clone, "max_steps: 900", "max_steps: 901")
    assert run_ci_check(clone) != 0


def run_ci_check(root: Path) -> int:
    """The exit status of the first commands in docs/ci.md."""
    found = re.search(r"```\n(dvc repro --dry.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    assert found
    return subprocess.run(["bash", "-ec", found[1]], cwd=root, capture_output=True, check=False).returncode
