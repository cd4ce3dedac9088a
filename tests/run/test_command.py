"""The shared command line, in a process of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGE = """
    import errno, sqlite3, time
    from pathlib import Path
    import pyarrow.parquet as pq
    from safetensors import SafetensorError
    from stages.run.command import command
    from stages.run.errors import EndpointError, UserError
    from stages.run.params import Params

    class ToyParams(Params):
        mode: str

    def run(params: ToyParams, table: Path, out: Path, name: str = "x") -> None:
        if params.mode == "user": raise UserError("fix this")
        if params.mode == "away": raise EndpointError("no answer")
        if params.mode == "disk": raise OSError(errno.ENOSPC, "No space left", "some/file")
        if params.mode == "disk of safetensors": raise SafetensorError("I/O error: No space left on device")
        if params.mode == "disk of sqlite": raise sqlite3.OperationalError("database or disk is full")
        if params.mode == "read-only": raise OSError(errno.EROFS, "Read-only file system", "some/file")
        if params.mode == "input": pq.read_table(table)
        if params.mode == "other": Path("other").read_text()
        if params.mode == "longer": Path("without.txt").read_text()  # ends like the flag's out.txt
        if params.mode == "fault": raise ValueError("a fault")
        if params.mode == "interrupt": raise KeyboardInterrupt
        if params.mode == "wait": print("holding", flush=True); time.sleep(60)
        out.write_text(name)

    if __name__ == "__main__":
        command(run)
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    (tmp_path / "toy.py").write_text(textwrap.dedent(STAGE))
    return tmp_path


def start(stage: Path, mode: str) -> subprocess.Popen[str]:
    (stage / "params.yaml").write_text(f"toy: {{mode: {mode}}}")
    command = [sys.executable, "toy.py", "--table", "a/b.parquet", "--out", "out.txt", "--name", "me"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        command, cwd=stage, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_stage_runs_with_its_params_and_flags(stage: Path) -> None:
    assert start(stage, "run").wait() == 0
    assert (stage / "out.txt").read_text() == "me"


@pytest.mark.parametrize(
    ("mode", "code", "line"),
    [
        ("user", 1, "toy: fix this"),
        ("away", 75, "toy: no answer"),
        ("disk", 1, "toy: no space left on the disk (some/file)"),
        ("disk of safetensors", 1, "toy: no space left on the disk"),
        ("disk of sqlite", 1, "toy: no space left on the disk"),
        ("read-only", 1, "toy: some/file: read-only file system; make it writable"),
        ("input", 1, "toy: a/b.parquet: not there; `dvc repro toy` runs the stages that write"),
        ("interrupt", 130, "interrupted; run the same"),
    ],
)
def test_what_a_person_can_fix_is_one_line(stage: Path, mode: str, code: int, line: str) -> None:
    process = start(stage, mode)
    _, errors = process.communicate()
    assert process.returncode == code
    assert line in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("fault", "ValueError: a fault"),
        ("other", "FileNotFoundError: [Errno 2] No such file"),
        ("longer", "FileNotFoundError: [Errno 2] No such file"),
    ],
)
def test_a_fault_of_the_program_keeps_its_traceback(stage: Path, mode: str, line: str) -> None:
    _, errors = start(stage, mode).communicate()
    assert "Traceback" in errors
    assert line in errors


def test_help_keeps_the_lines_of_the_stages_text(stage: Path) -> None:
    source = (stage / "toy.py").read_text()
    (signature,) = [line for line in source.splitlines() if line.startswith("def run(")]
    text = f'{signature}\n    """Make it.\n\n    Args:\n        table: The rows.\n        out: The text.\n    """'
    (stage / "toy.py").write_text(source.replace(signature, text))
    command = [sys.executable, "toy.py", "--help"]
    printed = subprocess.run(command, cwd=stage, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True).stdout
    assert "Make it.\n\nArgs:\n    table: The rows.\n    out: The text.\n" in printed


def test_a_dataclass_stands_for_the_flags_of_its_fields(stage: Path) -> None:
    text = (stage / "toy.py").read_text()
    [signature] = [line for line in text.splitlines() if line.startswith("def run(")]
    text = text.replace(
        signature,
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Files:\n"
        '    out: Path\n    table: Path\n    name: str = "x"\n    count: int | None = None\n    quiet: bool = False\n'
        "def run(params: ToyParams, files: Files, last: int = 7) -> None:\n"
        "    out, name = files.out, repr((files, last))",
    )
    (stage / "toy.py").write_text(text)
    assert start(stage, "run").wait() == 0
    assert (stage / "out.txt").read_text() == (
        "(Files(out=PosixPath('out.txt'), table=PosixPath('a/b.parquet'), name='me', count=None, quiet=False), 7)"
    )


def test_a_second_run_is_refused_with_the_holder_named_until_the_first_dies(stage: Path) -> None:
    first = start(stage, "wait")
    assert first.stdout is not None
    assert first.stdout.readline() == "holding\n"
    second = start(stage, "run")
    _, errors = second.communicate()
    assert second.returncode == 1
    assert f"already running here (process {first.pid})" in errors
    first.kill()
    first.wait()
    assert start(stage, "run").wait() == 0


def test_a_flag_may_be_a_number_and_may_name_the_item_whose_parameters_are_read(stage: Path) -> None:
    text = (stage / "toy.py").read_text().replace('name: str = "x"', 'name: str = "x", count: int | None = None')
    text = text.replace("out.write_text(name)", 'out.write_text(f"{name} {count!r} {params.mode}")').replace(
        "command(run)", 'command(run, item="name")'
    )
    (stage / "toy.py").write_text(text)
    (stage / "params.yaml").write_text("toy: {defaults: {mode: common}, me: {mode: mine}}")
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    for name, expected in (("me", "me 3 mine"), ("you", "you 3 common")):
        command = [
            sys.executable,
            "toy.py",
            "--table",
            "a/b.parquet",
            "--out",
            "out.txt",
            "--name",
            name,
            "--count",
            "3",
        ]
        subprocess.run(command, cwd=stage, env=environment, check=True)
        assert (stage / "out.txt").read_text() == expected


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("params.yaml", "edit", "other", "params.yaml (the section of this stage)"),
        ("toy.py", "errno, time", "errno", "toy.py"),
    ],
)
def test_what_is_edited_while_the_stage_runs_is_not_recorded_as_what_made_its_result(
    stage: Path, file: str, old: str, new: str, named: str
) -> None:
    edit = f'edited = Path("{file}"); edited.write_text(edited.read_text().replace("{old}", "{new}"))'
    line = f'if params.mode == "edit": {edit}'
    (stage / "toy.py").write_text((stage / "toy.py").read_text().replace("out.write_text(name)", line))
    process = start(stage, "edit")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert f"{named} changed while the stage ran" in errors
    assert len(errors.splitlines()) == 1
    assert start(stage, "run").wait() == 0
