"""Every timing script says what it measures."""

import importlib
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = [
    "chat_client",
    "corpus",
    "evaluation",
    "filtering",
    "frame_extraction",
    "frame_sharing",
    "frame_store",
    "ingestion",
    "metrics",
    "near_duplicates",
    "refilling",
    "rollout_sharing",
    "vision_features",
    "zero_checkpoints",
]
PACKAGES = ["gpu.__main__", "tgrpo_step.__main__"]


def test_no_script_is_left_out() -> None:
    found = [
        path for path in (ROOT / "speed").rglob("*.py") if "__main__" in path.read_text() or "__main__" in path.name
    ]
    names = {".".join(path.relative_to(ROOT / "speed").with_suffix("").parts) for path in found}
    assert names == {*SCRIPTS, *PACKAGES}


@pytest.mark.slow
@pytest.mark.parametrize("script", [f"speed.{name}" for name in [*SCRIPTS, *PACKAGES]] + ["experiments.evidence"])
def test_help_is_help_and_no_run(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(script).main
    monkeypatch.setattr(sys, "argv", [Path(script).name, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
