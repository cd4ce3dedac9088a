"""Runs of the toy repository's pipeline on a real Prefect server, with a real worker, on loopback."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from tests.flows.conftest import build_toy, edit, git, run_dvc
from tests.flows.test_process_tree import ends, is_alive

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
ALL = ["shapes", "sft", "tgrpo", "evaluate@sft", "evaluate@tgrpo", "report"]
ENDS = ("COMPLETED", "FAILED", "CRASHED")

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


BAR = """\
from stages.run.progress import progress_bar
bar = progress_bar(total=4, unit="clip")
bar.update()
bar.refresh()
print("the log goes on")
while not Path("go").exists():
    time.sleep(0.05)
bar.update(3)
bar.close()
"""


class Service:
    """`make ui` in a toy checkout: server, worker, deployments; the nightly one every minute. `told`: what the webhook was told."""

    def __init__(self, checkout: Path, home: Path, webhook: str, told: list[str]) -> None:
        self.checkout, self.told = checkout, told
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.api = f"http://127.0.0.1:{port}/api"
        self.env = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": self.api, "PYTHONPATH": str(ROOT)}
        self.env["VIDEO_R1_WEBHOOK"] = webhook
        self.log = home / "serve.log"
        home.mkdir()
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "flows.serve", "--port", str(port)]
            self.process = subprocess.Popen(command, cwd=checkout, env=self.env, stdout=log, stderr=log)
        until(lambda: "Prefect UI: http" in self.log.read_text(), self.log)

    def call(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.api + path, data, {"content-type": "application/json"}, method=method)
        while True:
            try:
                with urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"null")
            except HTTPError as error:
                if error.code != 503:  # its database is busy: Prefect's own clients try again too
                    raise
                time.sleep(1)

    def create_run(self, deployment: str, **parameters: Any) -> str:
        """The id of a new run of a deployment."""
        found = self.call(f"/deployments/name/{deployment}")["id"]
        return self.call(
            f"/deployments/{found}/create_flow_run", {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        )["id"]

    def state_of(self, run: str) -> str:
        return self.call(f"/flow_runs/{run}")["state_type"]

    @contextmanager
    def started(self, root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A run from the command line that is killed if the test leaves it running."""
        command = [sys.executable, "-m", "flows.pipeline", *arguments]
        with subprocess.Popen(
            command, cwd=root, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as flow:
            yield flow
            flow.kill()

    def run(self, root: Path, *arguments: str) -> "Run":
        """A run from the command line, to its end."""
        command = [sys.executable, "-m", "flows.pipeline", *arguments]
        done = subprocess.run(command, cwd=root, env=self.env, capture_output=True, text=True, timeout=300, check=False)
        return Run(self, done.returncode, done.stdout + done.stderr)

    def artifact(self, key: str) -> Any:
        artifact = self.call(f"/artifacts/{key}/latest")
        return json.loads(artifact["data"]) if artifact["type"] == "table" else artifact["data"]


class Run:
    """A finished flow run: exit status, log, and what the server knows of it."""

    def __init__(self, service: Service, status: int, output: str) -> None:
        self.service, self.status, self.output = service, status, output
        self.id = re.findall(r"/flow-run/([0-9a-f-]+)", output)[0]

    def state(self) -> dict[str, Any]:
        return self.service.call(f"/flow_runs/{self.id}")["state"]

    def stages(self) -> dict[str, str]:
        """The stages' states, which Prefect writes a moment after the run is over."""
        final: dict[str, str] = {}

        def read() -> bool:
            tasks = self.service.call("/task_runs/filter", {"flow_runs": {"id": {"any_": [self.id]}}})
            final.update({task["name"]: task["state_name"] for task in tasks})
            return all(task["state_type"] in (*ENDS, "PENDING") for task in tasks)

        until(read, self.service.log)
        return final


def until(condition: Callable[[], Any], log: Path | None = None, seconds: float = 240) -> None:
    """Waits for something that must come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text() if log else "it did not come"
        time.sleep(0.2)


def stage_pid(root: Path, stage: str) -> int:
    """The process of a stage that has started."""
    trace = root / "trace" / stage
    until(lambda: trace.exists() and trace.read_text().endswith("starts\n"))
    return int(trace.read_text().splitlines()[-1].split()[0])


@contextmanager
def listening(told: list[str]) -> Iterator[str]:
    """A webhook on loopback: its address."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[str]]]:
    told: list[str] = []
    with listening(told) as address:
        yield address, told


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, webhook: tuple[str, list[str]]) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    checkout = build_toy(folder / "toy")
    shutil.copy(ROOT / "prefect.yaml", checkout)
    edit(checkout, '"0 2 * * *"', '"* * * * *"', file="prefect.yaml")
    service = Service(checkout, folder / "home", *webhook)
    parts = psutil.Process(service.process.pid).children(recursive=True)
    yield service
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(90) == 0
    assert len(parts) >= 3
    assert ends([part.pid for part in parts])


def test_a_cron_deployment_produces_scheduled_runs_and_one_really_runs(service: Service) -> None:
    nightly = service.call("/deployments/name/pipeline/nightly")["id"]
    of_nightly = {"deployments": {"id": {"any_": [nightly]}}}

    def runs() -> list[dict[str, Any]]:
        return [run for run in service.call("/flow_runs/filter", of_nightly) if run["auto_scheduled"]]

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
    assert done.stderr.startswith(f"port {port} is taken. If `make ui` runs for another checkout")
    [step] = service.call("/deployments/name/pipeline/nightly")["pull_steps"]
    assert step["prefect.deployments.steps.set_working_directory"]["directory"] == str(service.checkout)


def test_cancelling_a_run_ends_its_processes_and_the_next_run_goes_on(service: Service) -> None:
    root = service.checkout
    edit(root, '"sft": {"value": 10}', '"sft": {"value": 11, "await": ["never"]}')
    before = (root / "trace" / "sft").read_text() if (root / "trace" / "sft").exists() else ""
    cancelled = service.create_run("pipeline/pipeline")
    until(lambda: (root / "trace" / "sft").exists() and (root / "trace" / "sft").read_text() != before, service.log)
    pid = stage_pid(root, "sft")
    assert is_alive(pid)
    service.call(f"/flow_runs/{cancelled}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    until(lambda: service.state_of(cancelled) == "CANCELLED", service.log)
    assert ends([pid])
    edit(root, ', "await": ["never"]', "")
    run = service.run(root, "sft")
    assert run.status == 0
    assert run.stages()["sft"] == "Completed"


def test_only_what_changed_is_run_and_what_was_there_before_is_restored(service: Service, toy: Path) -> None:
    assert service.run(toy).stages() == dict.fromkeys(ALL, "Completed")
    assert service.run(toy).stages() == dict.fromkeys(ALL, "Cached")
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
        lambda: any(text.startswith(f"pipeline: {name} Failed\n{message}\nhttp://") for text in service.told),
        service.log,
    )


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


def test_a_second_run_on_the_checkout_waits_and_names_the_first(service: Service, toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    with service.started(toy, "shapes") as first:
        stage_pid(toy, "shapes")
        holder = (toy / ".dvc" / "tmp" / "flow.lock").read_text()
        assert holder.endswith(f"(process {first.pid})")
        with service.started(toy, "shapes") as second:
            assert second.stdout
            assert any(f"waiting: {holder} works on this checkout" in line for line in second.stdout)
            (toy / "go").touch()
            first.communicate(timeout=300)
            output, _ = second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "Completed('1 cached')" in output


def test_a_killed_flow_leaves_no_process_and_the_next_run_goes_on(service: Service, toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    with service.started(toy, "sft") as flow:
        pid = stage_pid(toy, "shapes")
        processes = [process.pid for process in psutil.Process(flow.pid).children(recursive=True)]
        assert pid in processes
        flow.kill()
        killed = Run(service, 0, flow.communicate()[0])
    assert ends(processes)
    assert not (toy / "out" / "shapes.json").exists()
    assert killed.state()["type"] == "RUNNING"
    (toy / "go").touch()
    assert service.run(toy, "sft").stages() == {"shapes": "Completed", "sft": "Completed"}
    assert killed.state()["type"] == "CRASHED"


def test_a_killed_worker_leaves_no_process_and_the_next_run_goes_on(service: Service) -> None:
    root = service.checkout
    deployment = service.call("/deployments/name/pipeline/pipeline")["id"]
    edit(root, '"report": {"value": 0}', '"report": {"value": 5, "await": ["never"]}')
    trace = root / "trace" / "report"
    before = trace.read_text() if trace.exists() else ""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "other", "--type", "process"]
    with subprocess.Popen(
        command, cwd=root, env=service.env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as worker:
        until(lambda: "other" in [pool["name"] for pool in service.call("/work_pools/filter", {})], service.log)
        service.call(f"/deployments/{deployment}", {"work_pool_name": "other"}, method="PATCH")
        run = service.create_run("pipeline/pipeline")
        until(lambda: trace.exists() and trace.read_text() != before, service.log)
        processes = [process.pid for process in psutil.Process(worker.pid).children(recursive=True)]
        assert stage_pid(root, "report") in processes
        lock = (root / "dvc.lock").read_text()
        worker.kill()
    service.call(f"/deployments/{deployment}", {"work_pool_name": "local"}, method="PATCH")
    assert ends(processes)
    assert (root / "dvc.lock").read_text() == lock
    assert service.state_of(run) == "CRASHED"
    edit(root, ', "await": ["never"]', "")
    assert service.run(root).stages()["report"] == "Completed"


def test_new_data_in_a_source_folder_starts_a_run(service: Service) -> None:
    root = service.checkout
    videos = root / "videos"
    videos.mkdir()
    edit(root, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    memory = root / ".dvc" / "tmp" / "sources.json"
    deployment = service.call("/deployments/name/pipeline/new-data")["id"]

    def runs() -> list[dict[str, Any]]:
        return service.call("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})

    command = [sys.executable, "-m", "flows.watch", "--every", "0.5"]
    with subprocess.Popen(command, cwd=root, env=service.env) as watch:
        until(lambda: memory.exists() and str(videos) in memory.read_text())
        assert runs() == []
        (videos / "a.mp4").write_bytes(b"1")
        until(lambda: [run["state_type"] for run in runs()] == ["COMPLETED"], service.log)
        watch.terminate()
    assert runs()[0]["name"] == f"new data in {videos}"
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
    assert "progress:" not in output


def test_a_killed_stage_fails_and_the_next_run_goes_on(service: Service, toy: Path) -> None:
    edit(toy, '"shapes": {', '"shapes": {"await": ["go"], ')
    with service.started(toy, "sft") as flow:
        os.kill(stage_pid(toy, "shapes"), signal.SIGKILL)
        output, _ = flow.communicate(timeout=300)
    assert flow.returncode == 1
    assert "Failed('1 failed, 1 not reached (shapes failed)')" in output
    (toy / "go").touch()
    assert service.run(toy, "sft").stages() == {"shapes": "Completed", "sft": "Completed"}


def test_a_sweep_ends_as_experiments_with_a_table_that_compares_them(service: Service, finished: Path) -> None:
    toy = finished
    status = git(toy, "status", "--short")
    (toy / ".dvc" / "tmp" / "run_sweep.py").write_text(
        "from flows.pipeline import sweep; sweep({'tgrpo.value': [200, 300]})"
    )
    command = [sys.executable, ".dvc/tmp/run_sweep.py"]
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
