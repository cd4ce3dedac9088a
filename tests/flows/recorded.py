"""The project's own graph with tiny outputs, which `dvc commit` records."""

import shutil
from pathlib import Path

from flows import dvc
from tests.conftest import ROOT
from tests.flows.conftest import git, run_dvc


def record_project(root: Path) -> Path:
    """A new repository with every stage up to date."""
    root.mkdir()
    for name in ("stages", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        source = ROOT / name
        shutil.copytree(
            source, root / name, ignore=shutil.ignore_patterns("__pycache__")
        ) if source.is_dir() else shutil.copy(source, root / name)
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "somebody")
    git(root, "config", "user.email", "somebody@localhost")
    run_dvc(root, "init", "-q")
    record(root)
    return root


def record(root: Path) -> None:
    """Makes the outputs that are not there, and commits all of it."""
    for stage in dvc.snapshot(root).stages:
        for out in stage.outs:
            path = root / out
            if path.exists():
                continue
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f'{{"made by": "{stage.name}"}}')
            else:
                path.mkdir(parents=True, exist_ok=True)
                (path / "file").write_text(stage.name)
    run_dvc(root, "commit", "-f", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "recorded")
