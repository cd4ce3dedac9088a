"""What the page says about its origin."""

import subprocess
from pathlib import Path

import pytest

from stages.reporting.provenance import md5_hashes, provenance


def test_the_commit_is_the_last_one_of_code_and_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.reporting.provenance.ROOT", tmp_path)
    _git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("sft: {}\n")
    _commit(tmp_path, "parameters")
    commit = _git(tmp_path, "log", "-1", "--format=%h")
    (tmp_path / "dvc.lock").write_text("made by the run\n")
    _commit(tmp_path, "results")
    found = provenance({})
    assert (found.commit, found.date, found.changed) == (commit, "2026-01-02", False)
    (tmp_path / "params.yaml").write_text("sft: {seed: 1}\n")
    assert provenance({}).changed


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.reporting.provenance.ROOT", tmp_path)
    found = provenance({})
    assert (found.commit, found.date, found.changed) == ("", "", False)
    assert found.processor
    assert found.cores >= 1


def test_seeds_are_those_of_the_sections_and_of_common_values() -> None:
    sections: dict[object, object] = {
        "sft": {"seed": 3, "betas": [0.9]},
        "evaluate": {"defaults": {"seed": 4}, "shapes": {}},
        "frames": {"max_frames": 8},
        "filter": None,
    }
    assert provenance(sections).seeds == {"sft": 3, "evaluate": 4}


def test_hashes_are_md5_as_dvc_writes_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert md5_hashes([tmp_path / "a"]) == [(str(tmp_path / "a"), "900150983cd24fb0d6963f7d28e17f72")]


def _commit(folder: Path, message: str) -> None:
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", message)


def _git(folder: Path, *arguments: str) -> str:
    day = "2026-01-02T03:04:05+0000"
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    when = {"GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=who | when, check=True, capture_output=True, text=True).stdout.strip()
