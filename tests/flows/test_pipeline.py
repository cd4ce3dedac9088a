"""Runs of the toy repository's pipeline on a real Prefect server."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.flows.conftest import edit, git, run_dvc
from tests.flows.service import Service, until

pytestmark = pytest.mark.integration
ALL = ["shapes", "sft", "tgrpo", "evaluate@sft", "evaluate@tgrpo", "report"]

BAR = """\
from stages.run.progress import progress_bar
bar = progress_bar(total=4, unit="clip")
bar.update()
bar.refresh()
print("the log goes on")
print("progress: 4/4 clip, forged")
while not Path("go").exists():
    time.sleep(0.05)
bar.update(3)
bar.close()
"""


def test_only_what_changed_is_run_and_what_was_there_before_is_restored(service: Service, toy: Path) -> None:
    assert service.run(toy).stages() == dict.fromkeys(ALL, "Completed")
    again = service.run(toy)
    assert again.stages() == dict.fromkeys(ALL, "Cached")
    assert {task["name"] for task in again.tasks()} == {f"{stage} (cached)" for stage in ALL}
    edit(toy, '"value": 100,', '"value": 150,')
    changed = {"tgrpo": "Completed", "evaluate@tgrpo": "Completed", "report": "Completed"}
    assert service.run(toy).stages() == {**dict.fromkeys(ALL, "Cached"), **changed}
    assert [row["stage"] for row in service.artifact("stages")] == ALL
    moved = {row["file"]: row["change"] for row in service.artifact("metrics")}
    assert moved == {"metrics/sft.json": "=", "metrics/tgrpo.json": "+50"}
    assert "report/index.html" in service.artifact("report")
    lineage = {row["numbers"]: row for row in service.artifact("lineage")}
    head = git(toy, "rev-parse", "--short", "HEAD").strip()
    assert {name: (row["commit"], row["outdated"]) for name, row in lineage.items()} == dict.fromkeys(moved, (head, ""))
    made = [
        (path, hashlib.md5((toy / path).read_bytes()).hexdigest()[:8]) for path in ("out/shapes.json", "out/tgrpo.json")
    ]
    assert lineage["metrics/tgrpo.json"]["data"] == ", ".join(f"{path} {value}" for path, value in made)
    sections = {row["hash"]: (row["section"], json.loads(row["values"])) for row in service.artifact("parameters")}
    words = lineage["metrics/tgrpo.json"]["parameters"].split(", ")
    assert [sections[word.split()[1]] for word in words] == [
        ("shapes", {"value": 1}),
        ("tgrpo", {"value": 150, "alpha": 0.3}),
        ("evaluate", {"value": 1000}),
    ]
    edit(toy, '"value": 150,', '"value": 100,')
    restored = service.run(toy, "evaluate@tgrpo")
    assert restored.stages() == {"shapes": "Cached", "tgrpo": "Restored", "evaluate@tgrpo": "Restored"}


def test_a_failed_stage_shows_its_own_last_lines_and_the_other_branch_goes_on(service: Service, toy: Path) -> None:
    edit(toy, '"tgrpo": {', '"tgrpo": {"fail": true, ')
    run = service.run(toy)
    assert run.status == 1
    assert "tgrpo cannot go on: the reason" in run.output
    expected = {"tgrpo": "Failed", "evaluate@tgrpo": "NotReady", "report": "NotReady"}
    assert run.stages() == {**dict.fromkeys(ALL, "Completed"), **expected}
    assert run.state()["name"] == "Failed"
    message = "3 completed, 1 failed, 2 not reached (tgrpo failed)"
    assert run.state()["message"] == message
    name = service.call(f"/flow_runs/{run.id}")["name"]
    until(
        lambda: any(text.startswith(f"pipeline: {name} Failed\n{message}\nhttp://") for text in service.messages),
        service.log,
    )


def test_a_failed_stage_says_how_to_get_its_old_outputs_back(service: Service, finished: Path) -> None:
    edit(finished, '"tgrpo": {', '"tgrpo": {"fail": true, ')
    run = service.run(finished / "metrics", "tgrpo")  # from a folder inside the checkout
    assert not (finished / "metrics" / ".dvc").exists()
    assert run.stages()["tgrpo"] == "Failed"
    [task] = [task for task in run.tasks() if task["name"] == "tgrpo"]
    assert task["state"]["message"].endswith("to get them back: `dvc checkout --force tgrpo`")
    run_dvc(finished, "checkout", "--force", "tgrpo")
    assert (finished / "out" / "tgrpo.json").exists()


def test_a_stage_whose_endpoint_may_come_back_is_tried_again_and_no_other(service: Service, toy: Path) -> None:
    once_away = 'if name == "sft" and len(Path("trace/sft").read_text().splitlines()) < 2: sys.exit(75)'
    edit(toy, "value = params", f"{once_away}\nvalue = params", "stage.py")
    edit(toy, '"tgrpo": {', '"tgrpo": {"fail": true, ')
    run = service.run(toy, "sft", "tgrpo")
    assert run.stages() == {"shapes": "Completed", "sft": "Completed", "tgrpo": "Failed"}
    starts = {stage: (toy / "trace" / stage).read_text().count("starts") for stage in ("sft", "tgrpo")}
    assert starts == {"sft": 2, "tgrpo": 1}


def test_wrong_usage_is_one_clear_line(service: Service, toy: Path) -> None:
    run = service.run(toy, "tgrpo", "sft", "shapes", "evaluate", "--single", "--set", "tgrpo.alpha=1")
    assert run.status == 1
    line = "an experiment needs all that its parameters change; the selection leaves out report"
    assert run.state()["message"] == line
    assert "Traceback" not in run.output


def test_independent_stages_run_at_once_but_only_one_training_stage(service: Service, toy: Path) -> None:
    both = '["trace/evaluate-sft", "trace/evaluate-tgrpo"]'  # neither evaluation ends before the other has started
    edit(toy, '"evaluate": {', f'"evaluate": {{"await": {both}, ')
    assert service.run(toy, "evaluate").status == 0

    def interval(stage: str) -> tuple[float, float]:
        first, last = (line.split() for line in (toy / "trace" / stage).read_text().splitlines())
        return float(first[1]), float(last[1])

    (sft_start, sft_end), (tgrpo_start, tgrpo_end) = interval("sft"), interval("tgrpo")
    assert sft_end < tgrpo_start or tgrpo_end < sft_start


def test_a_long_stage_shows_its_progress_while_it_runs(service: Service, toy: Path) -> None:
    edit(toy, "value = params", f"{BAR}value = params", file="stage.py")

    def shown() -> tuple[float, str, int]:
        [bar] = service.call("/artifacts/filter", {"artifacts": {"key": {"any_": ["progress-shapes"]}}})
        tasks = service.call("/task_runs/filter", {"task_runs": {"id": {"any_": [bar["task_run_id"]]}}})
        return float(bar["data"]), bar["description"].partition(",")[0], len(tasks)

    with service.started(toy, "shapes") as flow:
        until(
            lambda: service.call("/artifacts/latest/count", {"artifacts": {"key": {"any_": ["progress-shapes"]}}}) == 1
        )
        until(lambda: shown()[0] > 0)
        assert shown()[:2] == (25.0, "25 %: 1 of 4 clip")
        (toy / "go").touch()
        output, _ = flow.communicate(timeout=300)
    assert shown() == (100.0, "100 %: 4 of 4 clip", 1)
    assert "the log goes on" in output
    assert "progress-" not in output
    assert "progress: 4/4 clip, forged" in output
