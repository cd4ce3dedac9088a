"""The deployments of `make ui`, run by its worker."""

import base64
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import edit, git, run_dvc
from tests.flows.service import ENDS, Run, Service, until

pytestmark = pytest.mark.integration

EVALUATE = """\
import argparse, json
from pathlib import Path

parser = argparse.ArgumentParser()
for option in ("--name", "--model", "--benchmark", "--data", "--predictions", "--metrics"):
    parser.add_argument(option, type=Path)
options = parser.parse_args()
value = sum(json.loads(path.read_text())["value"] for path in (options.model, Path("out/shapes.json")))
options.metrics.parent.mkdir(parents=True, exist_ok=True)
options.metrics.write_text(json.dumps({"accuracy": value}))
options.predictions.write_text(str(value))
"""


def test_a_cron_deployment_produces_scheduled_runs_and_one_really_runs(service: Service) -> None:
    deployment = service.call("/deployments/name/pipeline/nightly")
    nightly, [schedule] = deployment["id"], deployment["schedules"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    second = (datetime.now().second + 10) % 60  # once a minute, and soon
    each_minute = {"schedule": {**schedule["schedule"], "cron": f"* * * * * {second}"}, "active": True}
    service.call(f"/deployments/{nightly}/schedules/{schedule['id']}", each_minute, method="PATCH")

    def runs() -> list[dict[str, Any]]:
        return [run for run in service.runs_of(nightly) if run["auto_scheduled"]]

    until(lambda: any(run["state_type"] == "SCHEDULED" for run in runs()), service.log)
    until(lambda: any(run["state_type"] in ENDS for run in runs()), service.log)
    service.call(f"/deployments/{nightly}/pause_deployment", {})
    until(lambda: all(run["state_type"] in ENDS for run in runs()), service.log)
    assert {run["state_name"] for run in runs()} == {"Completed"}
    assert (service.checkout / "report" / "index.html").exists()


def test_a_second_make_ui_is_refused_and_leaves_the_deployments_where_they_are(service: Service, toy: Path) -> None:
    shutil.copy(ROOT / "prefect.yaml", toy)
    port = re.findall(r"\d+", service.api)[-1]
    command = [sys.executable, "-m", "flows.serve", "--port", port]
    done = subprocess.run(command, cwd=toy, env=service.env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"serve: port {port} is taken. If `make ui` runs for another checkout")
    [step] = service.call("/deployments/name/pipeline/nightly")["pull_steps"]
    assert step["prefect.deployments.steps.set_working_directory"]["directory"] == str(service.checkout)


def test_new_data_in_a_source_folder_starts_a_run(service: Service) -> None:
    root = service.checkout
    videos = root / "videos"
    videos.mkdir()
    edit(root, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    memory = root / ".dvc" / "tmp" / "sources.json"
    deployment = service.call("/deployments/name/pipeline/new-data")["id"]

    command = [sys.executable, "-m", "flows.watch", "--every", "0.5"]
    with subprocess.Popen(command, cwd=root, env=service.env) as watch:
        until(lambda: memory.exists() and str(videos) in memory.read_text())
        assert service.runs_of(deployment) == []
        (videos / "a.mp4").write_bytes(b"1")
        until(lambda: [run["state_type"] for run in service.runs_of(deployment)] == ["COMPLETED"], service.log)
        watch.terminate()
    assert service.runs_of(deployment)[0]["name"] == f"new data in {videos}"
    assert run_dvc(root, "status", "shapes") == "Data and pipelines are up to date.\n"


def test_one_checkpoint_is_evaluated_beside_the_pipeline(service: Service) -> None:
    root = service.checkout
    edit(
        root,
        "model: [sft, tgrpo]",
        "model: [sft, tgrpo]\n      benchmark: [shapes]\n      frames: [8]",
        file="dvc.yaml",
    )
    command = (
        "python evaluate.py --name ${item.model} --model out/${item.model}.json --benchmark ${item.benchmark} "
        "--data data/${item.benchmark}-${item.frames} --predictions out/${item.model}.txt --metrics"
    )
    edit(root, "python stage.py evaluate-${item.model}", command, file="dvc.yaml")
    edit(root, "metrics/${item.model}.json out/${item.model}.json", "metrics/${item.model}.json", file="dvc.yaml")
    edit(root, '"out/${item.model}.json"]', '"out/${item.model}.json", out/shapes.json]', file="dvc.yaml")
    outs = '    outs: ["out/${item.model}.txt"]\n'
    edit(
        root,
        '    metrics: [{"metrics/${item.model}.json"',
        f'{outs}    metrics: [{{"metrics/${{item.model}}.json"',
        file="dvc.yaml",
    )
    (root / "evaluate.py").write_text(EVALUATE)
    edit(root, '"shapes": {"value": 1}', '"shapes": {"value": 2}')
    (root / "step-3.json").write_text('{"value": 7}')
    lock = (root / "trace" / "sft").read_text()

    def evaluate(benchmark: str) -> tuple[str, str, dict[str, str]]:
        run = Run(
            service,
            0,
            "/flow-run/" + service.create_run("evaluate/evaluate", checkpoint="step-3.json", benchmark=benchmark),
        )
        until(lambda: service.state_of(run.id) in ENDS, service.log)
        return run.state()["type"], run.state()["message"], run.stages()

    done = ("COMPLETED", "step-3.json on shapes: runs/evaluate/step-3.json-shapes")
    assert evaluate("shapes") == (*done, {"shapes": "Completed", "step-3.json on shapes": "Completed"})
    assert service.artifact("metrics") == [
        {"file": "runs/evaluate/step-3.json-shapes/metrics.json", "metric": "accuracy", "value": 9, "change": ""}
    ]
    (root / "step-3.json").write_text('{"value": 8}')
    assert evaluate("shapes") == (*done, {"shapes": "Cached", "step-3.json on shapes": "Completed"})
    assert service.artifact("metrics")[0]["change"] == "+1"
    assert evaluate("shape") == ("FAILED", "dvc.yaml evaluates nothing on 'shape'; nearest: shapes", {})
    (root / "step-3.json").write_text("{}")
    assert "KeyError: 'value'" in evaluate("shapes")[1]
    assert (root / "trace" / "sft").read_text() == lock


def test_a_sweep_ends_as_experiments_with_a_table_that_compares_them(service: Service, finished: Path) -> None:
    toy = finished
    status = git(toy, "status", "--short")
    command = [sys.executable, "-m", "flows.sweep", "tgrpo.value=200,300"]
    done = subprocess.run(command, cwd=toy, env=service.env, capture_output=True, text=True, timeout=300, check=False)
    run = Run(service, done.returncode, done.stdout + done.stderr)
    assert run.status == 0, run.output
    rows = {(row.pop("file"), row.pop("name")): row for row in service.artifact("sweep")}
    assert list(rows["params.yaml", "tgrpo.value"].values()) == [200, 300]
    assert list(rows["metrics/tgrpo.json", "value"].values()) == [1201, 1301]
    assert ("metrics/sft.json", "value") not in rows
    assert sorted(run.stages().values()) == ["Cached"] * 6 + ["Completed"] * 6
    picture = base64.b64decode(service.artifact("sweep-plot").partition("base64,")[2])
    assert picture.count(b"<circle") == 2 * (len(rows) - 1)
    shown = run_dvc(toy, "exp", "show", "--csv")
    assert all(name in shown for name in rows["params.yaml", "tgrpo.value"])
    assert git(toy, "status", "--short") == status
    assert git(toy, "worktree", "list").count("\n") == 1
