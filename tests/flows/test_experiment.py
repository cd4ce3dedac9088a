import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows import dvc, experiment
from flows.errors import UsageError
from flows.experiment import Experiment, override
from flows.graph import Stage
from flows.pipeline import prepare
from flows.process_tree import CommandRunner
from flows.sweep import combine
from tests.flows.conftest import edit, git, run_dvc

PARAMS = """\
tgrpo:
  alpha: 0.3 # the paper's
  loss: {beta: 0.04}
"""


def test_an_override_keeps_the_other_values_and_the_comments() -> None:
    assert override(PARAMS, {"tgrpo.alpha": 0.5}) == PARAMS.replace("0.3", "0.5")
    assert override(PARAMS, {"tgrpo.loss.beta": 0.0}) == PARAMS.replace("0.04", "0.0")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tgrpo.alhpa", "no parameter 'tgrpo.alhpa': 'alhpa' is unknown; nearest: alpha"),
        ("tgpo.alpha", "no parameter 'tgpo.alpha': 'tgpo' is unknown; nearest: tgrpo"),
        ("tgrpo.alpha.x", "no parameter 'tgrpo.alpha.x': 'x' is unknown"),
    ],
)
def test_an_unknown_parameter_is_answered_with_the_nearest_one(name: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        override(PARAMS, {name: 1})
    assert str(refused.value) == message


def test_a_section_is_not_replaced_by_a_value() -> None:
    with pytest.raises(UsageError, match=r"'tgrpo' is a whole section: name its parameters, tgrpo.alpha, tgrpo.loss"):
        override(PARAMS, {"tgrpo": {"alpha": 0.5}})


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("1e-4", 1e-4), ("true", True), ("null", None), ("[1, 2]", [1, 2]), ("cispo", "cispo")],
)
def test_values_on_the_command_line_are_read_as_in_params_yaml(text: str, value: object) -> None:
    assert experiment.parse_value(text) == value


def test_a_profile_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no profile 'papr': .*profiles/papr.yaml does not exist"):
        _ = Experiment(tmp_path, {}, "papr").params


@pytest.mark.integration
def test_a_grid_is_every_combination_once(toy: Path) -> None:
    grid = {"tgrpo.alpha": [0.5, 0.7, 0.5], "sft.value": [1, 2]}
    assert [dict(one.overrides) for one in combine(toy, grid, None)] == [
        {"tgrpo.alpha": 0.5, "sft.value": 1},
        {"tgrpo.alpha": 0.5, "sft.value": 2},
        {"tgrpo.alpha": 0.7, "sft.value": 1},
        {"tgrpo.alpha": 0.7, "sft.value": 2},
    ]
    for empty in ({}, {"tgrpo.alpha": []}):
        with pytest.raises(UsageError, match="the grid names no values to try"):
            combine(toy, empty, None)


@pytest.mark.integration
def test_the_name_follows_from_all_that_the_run_starts_from(toy: Path) -> None:
    name = Experiment(toy, {"tgrpo.alpha": 0.5}).name
    assert name.startswith("alpha-0.5-")
    assert Experiment(toy, {"tgrpo.alpha": 0.5}).name == name
    assert Experiment(toy, {"tgrpo.alpha": 0.50001}).name != name
    edit(toy, "cannot go on", "stops", file="stage.py")
    assert Experiment(toy, {"tgrpo.alpha": 0.5}).name != name


@pytest.mark.integration
def test_an_experiment_is_shown_by_dvc_and_leaves_the_checkout_as_it_was(finished: Path) -> None:
    toy = finished
    edit(toy, '"report": {"value": 0}', '"report": {"value": 7}')  # not committed: the run sees it all the same
    files = {
        path: path.read_bytes() for path in toy.rglob("*") if path.is_file() and not {".git", ".dvc"} & set(path.parts)
    }
    status = git(toy, "status", "--short")

    one = Experiment(toy, {"tgrpo.value": 200})
    experiment.create(one)
    before = dvc.snapshot(one.root)
    assert "tgrpo" in before.changed
    assert "sft" not in before.changed
    with CommandRunner([]) as runner:
        states = {
            stage.name: dvc.reproduce(one.root, stage.name, runner, lambda line: None).state for stage in before.stages
        }
    experiment.save(one)

    assert states["shapes"] == states["sft"] == states["evaluate@sft"] == "Cached"
    assert states["tgrpo"] == states["evaluate@tgrpo"] == states["report"] == "Completed"
    shown = run_dvc(toy, "exp", "show", "--csv")
    assert [line.split(",")[3:5] for line in shown.splitlines() if one.name in line] != []
    assert "1201" in shown
    assert {path: path.read_bytes() for path in files} == files
    assert git(toy, "status", "--short") == status
    assert not one.root.exists()
    assert git(toy, "worktree", "list").count("\n") == 1


@pytest.mark.integration
def test_a_worktree_that_a_killed_run_left_is_continued(toy: Path) -> None:
    one = Experiment(toy, {"tgrpo.alpha": 0.5})
    experiment.create(one)
    checkpoint = one.root / ".work" / "checkpoint"
    checkpoint.parent.mkdir()
    checkpoint.write_text("step 100")
    experiment.create(one)
    assert checkpoint.read_text() == "step 100"
    shutil.rmtree(one.root.parent)  # somebody cleans up, and git still knows of it
    experiment.create(one)
    os.remove(one.root / ".dvc" / "tmp" / "ready")  # killed while it was being made: made anew
    checkpoint.parent.mkdir()
    checkpoint.touch()
    experiment.create(one)
    assert not checkpoint.exists()


@pytest.mark.integration
def test_a_folder_may_have_letters_beyond_ascii(finished: Path, tmp_path: Path) -> None:
    home = finished.rename(tmp_path / "müßig 视频")
    one = Experiment(home, {"report.value": 7})
    experiment.create(one)
    assert dvc.snapshot(one.root).changed == {"report"}
    run_dvc(one.root, "repro")
    experiment.save(one)
    assert one.name in run_dvc(home, "exp", "show", "--csv")


@pytest.mark.integration
def test_a_refused_run_leaves_no_worktree_and_an_unfinished_one_stays(finished: Path) -> None:
    home = finished
    unfinished = Experiment(home, {"sft.value": 11})
    experiment.create(unfinished)
    experiments = [Experiment(home, {"sft.value": 12}), unfinished, Experiment(home, {"tgrpo.value": 300})]

    def without_tgrpo(stages: Sequence[Stage]) -> list[Stage]:
        return [stage for stage in stages if stage.name != "tgrpo"]

    with CommandRunner([]) as runner, pytest.raises(UsageError, match="leaves out tgrpo"):
        prepare(experiments, without_tgrpo, runner, force=False)
    assert [one.root.exists() for one in experiments] == [False, True, False]
    assert git(home, "worktree", "list").count("\n") == 2


@pytest.mark.integration
def test_an_experiment_reads_source_data_where_it_is_and_copies_no_artifact(finished: Path) -> None:
    toy = finished
    edit(toy, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    edit(toy, "/out", "/videos/\n/out", file=".gitignore")
    (toy / "videos").mkdir()
    (toy / "videos" / "a.mp4").write_bytes(b"1")
    run_dvc(toy, "repro")
    one = Experiment(toy, {"report.value": 7})
    experiment.create(one)
    assert dvc.snapshot(one.root).changed == {"report"}
    assert (one.root / "out" / "sft.json").stat().st_nlink > 1
    run_dvc(one.root, "repro")
    experiment.save(one)
    assert (toy / "videos" / "a.mp4").read_bytes() == b"1"
    [saved] = git(toy, "for-each-ref", "--format=%(refname)", f"refs/exps/**/{one.name}").split()
    assert "videos" not in git(toy, "ls-tree", "--name-only", saved).split()
