"""The embedded pipeline in two clones, by DVC and the flow.

Its numbers are small, and it goes from rendered clips to the report.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.experiment import override
from tests.conftest import ROOT
from tests.flows.conftest import git

SMALL = {
    "shapes.sft": 60,
    "shapes.rl": 24,
    "shapes.benchmark": 16,
    "base.align_steps": 4,
    "base.align_clips": 2,
    "sft.max_steps": 2,
    "sft.warmup_steps": 1,
    "tgrpo.max_steps": 2,
    "tgrpo.group_size": 2,
    "tgrpo.contrast_size": 2,
    "tgrpo.length_min": 2,
    "tgrpo.length_max": 8,
    "tgrpo.max_new_tokens": 8,
    "evaluate.defaults.max_new_tokens": 8,
    "report.models": ["tgrpo"],
}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with the present project and a small params.yaml."""
    root = tmp_path / "origin"
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    (root / "dvc.lock").unlink(missing_ok=True)
    (root / "params.yaml").write_text(override((ROOT / "params.yaml").read_text(), SMALL))
    git(root, "init", "-q")
    git(root, "add", "--all")
    git(root, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "small")
    return root


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_clean_clones_end_with_the_same_hashes_one_by_dvc_and_one_by_the_flow(origin: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHONPATH", "VIDEO_R1"))
    }
    env |= {"PATH": path, "PREFECT_HOME": str(tmp_path / "prefect")}
    clones = {tmp_path / "a": ["dvc", "repro"], tmp_path / "elsewhere" / "and-deeper": ["flows.pipeline"]}
    runs = []
    for root, module in clones.items():
        git(tmp_path, "clone", "-q", str(origin), str(root))
        command = [sys.executable, "-m", *module]
        runs.append(
            subprocess.Popen(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    for run in runs:
        output, _ = run.communicate()
        assert run.returncode == 0, output
    by_dvc, by_flow = (recorded(root) for root in clones)
    assert by_flow == by_dvc
    made = {out["path"] for stage in by_dvc.values() for out in stage["outs"]}
    assert {"data/shapes", "models/base", "models/sft", "models/tgrpo", "report/index.html"} <= made


def recorded(root: Path) -> dict[str, dict[str, list[dict[str, str]]]]:
    """The stages of a dvc.lock."""
    return YAML(typ="safe").load((root / "dvc.lock").read_text())["stages"]
