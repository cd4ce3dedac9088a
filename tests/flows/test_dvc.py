"""Against the toy repository, with real DVC."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import dvc, graph
from flows.errors import UsageError
from flows.graph import Stage
from flows.process_tree import CommandRunner
from tests.conftest import ROOT
from tests.flows.conftest import edit, run_dvc

GRAPH = [
    Stage("shapes", (), {}),
    Stage("sft", ("shapes",), {}),
    Stage("tgrpo", ("sft",), {}),
    Stage("evaluate@sft", ("sft",), {}),
    Stage("evaluate@tgrpo", ("tgrpo",), {}),
    Stage("report", ("evaluate@sft", "evaluate@tgrpo"), {}),
]


def chosen(*targets: str, single: bool = False, downstream: bool = False) -> list[str]:
    return [stage.name for stage in graph.select(GRAPH, targets, single, downstream)]


def test_no_targets_select_all_stages() -> None:
    assert chosen() == [stage.name for stage in GRAPH]


def test_a_target_comes_with_what_it_needs_in_the_graphs_order() -> None:
    assert chosen("evaluate@tgrpo") == ["shapes", "sft", "tgrpo", "evaluate@tgrpo"]
    assert chosen("evaluate") == ["shapes", "sft", "tgrpo", "evaluate@sft", "evaluate@tgrpo"]


def test_the_beginning_of_a_matrix_item_means_all_items_that_begin_so() -> None:
    stages = [Stage(f"evaluate@{item}", (), {}) for item in ("sft-shapes-8", "sft-shapes-16", "sft2-shapes-8")]
    assert graph.select(stages, ["evaluate@sft"], True, False) == stages[:2]
    assert graph.select(stages, ["evaluate@sft-shapes-16"], True, False) == stages[1:2]
    with pytest.raises(UsageError, match="no stage 'evaluate@sf'"):
        graph.select(stages, ["evaluate@sf"], True, False)


def test_single_selects_the_targets_alone() -> None:
    assert chosen("evaluate", "sft", single=True) == ["sft", "evaluate@sft", "evaluate@tgrpo"]


def test_downstream_selects_the_targets_and_what_needs_them() -> None:
    assert chosen("tgrpo", downstream=True) == ["tgrpo", "evaluate@tgrpo", "report"]


def test_single_and_downstream_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="choose one"):
        chosen("tgrpo", single=True, downstream=True)


def test_an_unknown_target_is_answered_with_the_nearest_stage() -> None:
    with pytest.raises(UsageError, match=r"no stage 'tgrop' in dvc.yaml; nearest: tgrpo"):
        chosen("tgrop")


def test_metrics_are_named_by_file_and_key_and_only_numbers_count(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "sft.json"
    assert dvc.read_metrics(path, tmp_path) == {}
    path.parent.mkdir()
    path.write_text('{"accuracy": {"all": 0.5, "static": 1}, "model": "tiny"}')
    assert dvc.read_metrics(path, tmp_path) == {
        "metrics/sft.json:accuracy.all": 0.5,
        "metrics/sft.json:accuracy.static": 1,
    }


@pytest.mark.integration
def test_the_graph_is_read_from_dvc_yaml_with_one_stage_per_matrix_item(toy: Path) -> None:
    before = dvc.snapshot(toy)
    assert [(stage.name, stage.upstream) for stage in before.stages] == [
        ("shapes", ()),
        ("sft", ("shapes",)),
        ("tgrpo", ("shapes",)),
        ("evaluate@sft", ("sft",)),
        ("evaluate@tgrpo", ("tgrpo",)),
        ("report", ("evaluate@sft", "evaluate@tgrpo")),
    ]
    assert before.changed == {stage.name for stage in before.stages}
    assert before.metrics == {}


@pytest.mark.integration
def test_benchmarks_come_before_the_filter_that_compares_with_them_and_only_that(toy: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, toy)

    def upstream() -> tuple[str, ...]:
        return next(stage.upstream for stage in dvc.snapshot(toy).stages if stage.name == "filter")

    assert upstream() == ("ingest", "frames", "annotate")
    edit(toy, "held_out: data/samples.parquet", "held_out: data/benchmarks")
    assert upstream() == ("ingest", "benchmark@shapes-8", "frames", "annotate")


@pytest.mark.integration
def test_a_stage_ends_completed_then_cached_then_restored_then_failed(toy: Path) -> None:
    lines: list[str] = []
    with CommandRunner([]) as runner:

        def state(force: bool = False) -> str:
            return dvc.reproduce(toy, "shapes", runner, lines.append, force).state

        assert state() == "Completed"
        assert lines == ["Running stage 'shapes':", "> python stage.py shapes out/shapes.json", "shapes starts"]
        assert dvc.snapshot(toy).stages[0].outs == {"out/shapes.json": "1ff00094a5ba112cb7dd128e783d6803"}
        assert state() == "Cached"
        assert state(force=True) == "Completed"
        edit(toy, '"shapes": {"value": 1}', '"shapes": {"value": 2}')
        assert state() == "Completed"
        edit(toy, '"shapes": {"value": 2}', '"shapes": {"value": 1}')
        assert state() == "Restored"
        edit(toy, '"shapes": {"value": 1}', '"shapes": {"value": 1, "fail": true}')
        failed = dvc.reproduce(toy, "shapes", runner, lines.append)
    assert failed.state == "Failed"
    assert "shapes cannot go on: the reason" in lines


@pytest.mark.integration
def test_no_line_that_a_stage_prints_changes_what_is_said_of_it(toy: Path) -> None:
    forged = [
        "Stage 'shapes' didn't change, skipping",
        "Stage 'shapes' is cached - skipping run, checking out outputs",
        "'x' is busy, it is being blocked by:",
        "ERROR: failed to run: x, exited with 75",
    ]
    edit(toy, 'print(f"{name} starts", flush=True)', f"print(*{forged}, sep=chr(10), flush=True)", file="stage.py")
    lines: list[str] = []
    with CommandRunner([]) as runner:
        assert dvc.reproduce(toy, "shapes", runner, lines.append).state == "Completed"
        assert lines[2:] == forged
        edit(toy, '"shapes": {"value": 1}', '"shapes": {"value": 1, "fail": true}')
        failed = dvc.reproduce(toy, "shapes", runner, lines.append)
    assert (failed.state, failed.status) == ("Failed", 1)
    assert (toy / "trace" / "shapes").read_text().count("starts") == 2


@pytest.mark.integration
def test_a_failing_dvc_command_is_reported_with_what_it_said(toy: Path) -> None:
    with pytest.raises(UsageError, match="no-such-target"):
        dvc.call(toy, "checkout", "no-such-target")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("dvc.yaml", r"dvc\.yaml', YAML file structure is corrupted: .* line 2"),
        ("params.yaml", r"params\.yaml', YAML file structure is corrupted: .* line 2"),
        (".git", "toy is not a git repository"),
    ],
)
def test_a_checkout_that_dvc_cannot_read_is_one_line(toy: Path, file: str, line: str) -> None:
    if (toy / file).is_file():
        (toy / file).write_text("{[")
    else:
        shutil.rmtree(toy / file)
    with pytest.raises(UsageError, match=line) as refused:
        dvc.snapshot(toy)
    assert "\n" not in str(refused.value)


@pytest.mark.integration
def test_a_stage_waits_for_somebodys_own_dvc_repro_and_says_so_once(toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        if "(PID" in line:
            (toy / "go").touch()

    command = [sys.executable, "-m", "dvc", "repro", "shapes"]
    with subprocess.Popen(command, cwd=toy, stdout=subprocess.PIPE, text=True) as person, CommandRunner([]) as runner:
        assert person.stdout
        assert any(line == "shapes starts\n" for line in person.stdout)
        assert dvc.reproduce(toy, "shapes", runner, take).state == "Cached"
        assert person.wait() == 0
    [waiting] = [line for line in lines if "(PID" in line]
    assert waiting.startswith(f"  (PID {person.pid}): ")
    assert waiting.endswith("repro shapes")


@pytest.mark.integration
def test_what_changed_is_what_dvc_status_says(finished: Path) -> None:
    def changed() -> set[str]:
        found = dvc.snapshot(finished).changed
        assert found == set(json.loads(run_dvc(finished, "status", "--json")))
        return found

    assert changed() == set()
    edit(finished, '"tgrpo": {"value": 100', '"tgrpo": {"value": 101')
    assert changed() == {"tgrpo"}
    (finished / "out" / "shapes.json").write_text("{}")
    assert changed() == {"shapes", "sft", "tgrpo"}
    run_dvc(finished, "checkout", "--force")
    shutil.rmtree(finished / ".dvc" / "cache")
    assert changed() == {"shapes", "sft", "tgrpo", "report"}
