"""Answers survive `dvc checkout` and `dvc gc`.

Real git, real DVC, two branches with a teacher each.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.annotate.case import write_inputs
from tests.conftest import ROOT
from tests.fault_server import fault_server

DVC_YAML = """\
stages:
  annotate:
    cmd: >-
      python -m stages.annotate --samples samples.parquet --frame-store frames --frame-keys frames.parquet
      --responses responses --annotations annotations.parquet --metrics annotate.json
    params: [annotate]
    deps: [samples.parquet]
    outs: [responses: {persist: true}, annotations.parquet, annotate.json]
"""


def execute(*command: str, check: bool = True) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, env=environment, check=check, capture_output=True)


def choose(model: str, url: str) -> None:
    """Write and commit the parameters of a teacher."""
    annotate = {"base_url": url, "model": model, "prompt": "plain", "timeout_s": 5.0, "concurrency": 4}
    Path("params.yaml").write_text(json.dumps({"annotate": annotate}))
    execute("git", "commit", "-qam", f"teacher {model}")


@pytest.mark.integration
def test_after_a_change_of_branch_and_gc_no_answer_is_paid_for_again() -> None:
    write_inputs(4)
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("params.yaml").write_text("{}")
    Path(".gitignore").write_text("/.work\n/frames\n")
    execute("git", "init", "-q", "-b", "main")
    execute("git", "config", "user.name", "somebody")
    execute("git", "config", "user.email", "somebody@localhost")
    execute("dvc", "init", "-q")
    execute("git", "add", ".")
    with fault_server() as server:
        choose("first", server.url)
        execute("dvc", "repro")
        execute("git", "add", ".")
        execute("git", "commit", "-qm", "first's answers")
        execute("git", "checkout", "-qb", "other")
        choose("second", server.url)
        execute("dvc", "repro")
        execute("git", "commit", "-qam", "second's answers")
        assert len(server.calls) == 8
        second = Path("annotations.parquet").read_bytes()

        execute("git", "checkout", "-q", "main")
        execute("dvc", "checkout")
        execute("dvc", "repro", "--force")
        execute("dvc", "gc", "--workspace", "--force")  # what main does not use is gone from DVC's cache
        execute("git", "checkout", "-q", "other")
        execute("dvc", "checkout", check=False)
        execute("dvc", "repro", "--force")
        assert Path("annotations.parquet").read_bytes() == second
        assert len(server.calls) == 8
