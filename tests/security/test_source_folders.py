"""Item 9: what is no file in a source folder. DVC opens it to hash it, and waits for ever.

DVC hashes a stage's inputs before it runs any command of it, so the look at them comes before DVC: in `make demo`, in
each flow and in the watch.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows import dvc
from flows.errors import UsageError
from tests.conftest import ROOT
from tests.flows.conftest import edit, git, run_dvc

TIME_LIMIT = 120  # seconds, where DVC would wait for ever


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's graph with a source folder of its own."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root)
    git(root, "init", "-q")
    run_dvc(root, "init", "-q")
    edit(root, "root: data/shapes", "root: data/mine")
    (root / "data" / "mine" / "videos").mkdir(parents=True)
    return root


def strange(kind: str, path: Path) -> None:
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(path.with_name("elsewhere"))
            path.symlink_to("elsewhere")
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "socket"])
def test_what_is_no_file_is_refused_before_dvc_opens_it(
    project: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    strange(kind, project / "data" / "mine" / "videos" / "a.mp4")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "flows.parameters"]
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"parameters: \S+ is a named pipe, a socket or a device; .*\n", done.stderr)
    with pytest.raises(UsageError, match="is a named pipe, a socket or a device"):
        dvc.snapshot(project)


@pytest.mark.integration
def test_an_input_that_is_a_pipe_itself_is_refused(project: Path) -> None:
    edit(project, "held_out: data/samples.parquet", "held_out: data/pipe")
    os.mkfifo(project / "data" / "pipe")
    with pytest.raises(UsageError, match="pipe is a named pipe, a socket or a device"):
        dvc.snapshot(project)


def test_make_looks_before_it_starts_dvc() -> None:
    demo = (ROOT / "Makefile").read_text().partition("\ndemo:")[2]
    assert demo.index("flows.parameters") < demo.index("dvc repro")
