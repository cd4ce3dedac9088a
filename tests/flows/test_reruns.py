"""What re-runs what (docs/reruns.md), as DVC itself says.

A copy of the project has tiny outputs, which `dvc commit` records.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import dvc
from flows.errors import UsageError
from flows.keep import keep
from tests.flows.conftest import edit
from tests.flows.recorded import record_project


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's graph with every stage up to date."""
    root = record_project(tmp_path_factory.mktemp("recorded") / "project")
    assert changed(root) == set()
    return root


def changed(root: Path) -> set[str]:
    """The stages whose own inputs changed."""
    return {name.partition("@")[0] for name in dvc.snapshot(root).changed}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("stages/run/progress.py", set()),
        ("stages/run/command.py", set()),
        ("stages/launch.py", set()),
        ("stages/generation/generate.py", {"tgrpo", "evaluate"}),
        ("stages/rl/loss.py", {"tgrpo"}),
        ("stages/chat/transport.py", {"annotate", "tgrpo", "evaluate"}),
        ("stages/curation/params.py", {"filter"}),
        ("stages/video/hashes.py", {"ingest", "benchmark", "frames", "filter"}),
        ("stages/reporting/charts.py", {"report"}),
    ],
)
def test_an_edit_re_runs_the_stages_that_run_that_code_and_no_other(
    recorded: Path, file: str, stages: set[str]
) -> None:
    text = (recorded / file).read_text()
    (recorded / file).write_text(text + "# a comment\n")
    try:
        assert changed(recorded) == stages
    finally:
        (recorded / file).write_text(text)


@pytest.mark.integration
def test_new_frames_of_another_source_do_not_retrain(recorded: Path) -> None:
    """Training depends on its own set, which names its frames."""
    shard = recorded / "data" / "frames" / "00001.parquet"
    shard.write_text("more")
    try:
        assert changed(recorded) & {"sft", "tgrpo"} == set()
        assert "filter" in changed(recorded)
    finally:
        shard.unlink()


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded project, with the copy of its code."""
    root = tmp_path / "project"
    shutil.copytree(recorded, root)
    command = [
        sys.executable,
        "-c",
        "from pathlib import Path; from stages.run.code import store_copy; store_copy(Path('.work/code'))",
    ]
    subprocess.run(command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True)
    return root


@pytest.mark.integration
def test_keep_shows_the_change_of_code_and_records_the_outputs_as_they_are(copy: Path) -> None:
    weights = (copy / "models" / "sft" / "file").read_text()
    edit(copy, "IGNORE =", "IGNORE = ", "stages/model/inputs.py")
    edit(copy, "class SftParams", "# fine\nclass SftParams", "stages/sft.py")
    assert "sft" in changed(copy)
    differences = keep(copy, "sft")
    assert "--- stages/model/inputs.py (ran)" in differences
    assert "+# fine" in differences
    assert (copy / "models" / "sft" / "file").read_text() == weights
    assert changed(copy) & {"sft"} == set()
    assert "tgrpo" in changed(copy)  # its deps changed too: it is kept by its own name
    assert keep(copy, "tgrpo") != ""
    assert keep(copy, "evaluate") != ""
    assert keep(copy, "sft") == ""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("params.yaml", "max_steps: 900", "max_steps: 901", "params.yaml"),
        ("data/sft.parquet", "made by", "written by", "data/sft.parquet"),
        ("models/sft/file", "sft", "another", "models/sft"),
    ],
)
def test_keep_refuses_where_parameters_data_or_outputs_changed(
    copy: Path, file: str, old: str, new: str, named: str
) -> None:
    edit(copy, "class SftParams", "# fine\nclass SftParams", "stages/sft.py")
    edit(copy, old, new, file)
    with pytest.raises(UsageError, match=rf"sft: .*{named} changed since the outputs were made.*dvc repro sft"):
        keep(copy, "sft")
    assert "sft" in changed(copy)


@pytest.mark.integration
def test_keep_without_a_copy_of_the_code_that_ran_says_what_to_do(copy: Path) -> None:
    shutil.rmtree(copy / ".work")
    edit(copy, "class SftParams", "# fine\nclass SftParams", "stages/sft.py")
    with pytest.raises(UsageError, match=r"stages/sft.py changed, and no copy of the code that ran.*dvc commit"):
        keep(copy, "sft")


@pytest.mark.integration
def test_keep_says_of_a_stage_without_outputs_that_it_has_to_run(copy: Path) -> None:
    (copy / "dvc.lock").unlink()
    with pytest.raises(UsageError, match="sft has no recorded outputs"):
        keep(copy, "sft")
    with pytest.raises(UsageError, match="no stage 'sfd'"):
        keep(copy, "sfd")
