from pathlib import Path

import pytest

from stages.check import items_of, problems
from tests import warm
from tests.conftest import ROOT

SECONDS = 300


def test_a_section_with_defaults_is_checked_for_each_item() -> None:
    assert list(items_of({"defaults": {}, "shapes": {}})) == ["defaults", "shapes"]
    assert list(items_of({"seed": 0})) == [None]


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    [problem] = problems(tmp_path / "params.yaml")
    assert "no such file" in problem


def test_a_section_of_no_stage_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("shapes: {seed: 0, sft: 1, rl: 1, benchmark: 1, shortcut: null}\nshpaes: {}\n../x: {}\n")
    assert problems(path) == [
        f"{path}: no stage has a section '{name}'; correct its name or remove it" for name in ("shpaes", "../x")
    ]


@pytest.mark.parametrize("section", ["probe: {models: ['']}", "report: {models: ['']}", "report: {benchmarks: ['']}"])
def test_an_empty_name_of_an_item_is_one_line(section: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(section)
    [problem] = problems(tmp_path / "params.yaml")
    assert 's.0\' is "": String should have at least 1 character' in problem


@pytest.mark.slow
def test_every_profile_passes_and_every_bad_value_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    text = (ROOT / "params.yaml").read_text().replace("alpha: 0.3\n", "alpha: abc\n")
    bad.write_text(text.replace("  seed: 0\n  sft: 9000", "  seed: 0\n  sfd: 9000"))
    good = [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))]
    started = warm.start("stages.check", [f"--params={path}" for path in [*good, bad]], tmp_path)
    assert started.wait(SECONDS) == 1
    shapes, tgrpo = started.said.splitlines()
    assert "unknown parameter 'shapes.sfd'" in shapes
    assert tgrpo.startswith(f"check: {bad}: 'tgrpo.alpha' is \"abc\"")
