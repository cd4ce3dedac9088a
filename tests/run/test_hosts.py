"""The list of hosts, and what is said of those that could not start."""

import sys
from pathlib import Path

import pytest

from stages.run.errors import UserError
from stages.run.hosts import hosts_of, refuse_unready


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs before all others; an ssh there runs its command here, as if on that host."""
    script = (
        '#!/bin/sh\nfor last; do :; done\ncase "$*" in *away*) echo "no route" >&2; exit 255;; esac\neval "$last"\n'
    )
    for name, text in (("ssh", script), ("pdsh", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "project" / "stages").mkdir(parents=True)
    (tmp_path / "project" / "stages" / "launch.py").touch()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def test_comments_and_empty_lines_name_no_host(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("# ours\nworker-1 slots=8\n\n  10.0.0.2   slots=4\n")
    assert hosts_of(tmp_path / "hosts") == ["worker-1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker-1\n", "'worker-1' is not like 'worker-1 slots=8'"),
        ("worker-1 slots=0\n", "is not like"),
        ("-oProxyCommand=x slots=1\n", "is not like"),
        ("a;reboot slots=1\n", "is not like"),
        ("# none\n", "names no host"),
        ("a slots=1\na slots=2\n", "names a host twice"),
    ],
)
def test_a_bad_hostfile_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(UserError, match=said):
        hosts_of(tmp_path / "hosts")


def test_hosts_that_can_start_pass(programs: Path) -> None:
    refuse_unready(["worker-1", "worker-2"])


def test_each_host_that_does_not_answer_is_named(programs: Path) -> None:
    with pytest.raises(UserError, match=r"^away-1: ssh does not reach it.*\(no route\); away-2: ssh"):
        refuse_unready(["away-1", "worker-1", "away-2"])


def test_a_missing_project_and_a_missing_environment_are_told_apart(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(sys, "executable", str(programs / "absent" / "python"))
        with pytest.raises(UserError, match=r"worker-1: there is no \S+/absent/python; install"):
            refuse_unready(["worker-1"])
    (programs / "project" / "stages" / "launch.py").unlink()
    with pytest.raises(UserError, match="worker-1: the project is not at"):
        refuse_unready(["worker-1"])


def test_pdsh_is_asked_for(programs: Path) -> None:
    (programs / "pdsh").unlink()
    with pytest.raises(UserError, match="install the package pdsh"):
        refuse_unready(["worker-1"])
