"""A toy repository of the project's form, and `make ui` for it.

git and DVC are real. The stages are plain Python and take no time, unless their parameter `await` names files that do
not exist yet.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.flows.service import Service, listening
from tests.flows.test_process_tree import ends

STAGE = """\
import json, os, sys, time
from pathlib import Path

name, out, *deps = sys.argv[1:]
params = json.loads(Path("params.yaml").read_text())[name.split("-")[0]]
print(f"{name} starts", flush=True)
Path("trace").mkdir(exist_ok=True)
with Path("trace", name).open("a") as trace:
    trace.write(f"{os.getpid()} {time.monotonic()} starts\\n")
while not all(Path(awaited).exists() for awaited in params.get("await", [])):
    time.sleep(0.05)
if params.get("fail"):
    sys.exit(f"{name} cannot go on: the reason")
value = params["value"] + sum(json.loads(Path(dep).read_text())["value"] for dep in deps)
Path(out).parent.mkdir(parents=True, exist_ok=True)
Path(out).write_text(json.dumps({"value": value}))
with Path("trace", name).open("a") as trace:
    trace.write(f"{os.getpid()} {time.monotonic()} ends\\n")
"""

DVC_YAML = """\
stages:
  shapes:
    cmd: python stage.py shapes out/shapes.json
    deps: [stage.py]
    params: [shapes]
    outs: [out/shapes.json]
  sft:
    cmd: python stage.py sft out/sft.json out/shapes.json
    deps: [stage.py, out/shapes.json]
    params: [sft]
    outs: [out/sft.json]
  tgrpo:
    cmd: python stage.py tgrpo out/tgrpo.json out/shapes.json
    deps: [stage.py, out/shapes.json]
    params: [tgrpo]
    outs: [out/tgrpo.json]
  evaluate:
    matrix:
      model: [sft, tgrpo]
    cmd: python stage.py evaluate-${item.model} metrics/${item.model}.json out/${item.model}.json
    deps: [stage.py, "out/${item.model}.json"]
    params: [evaluate]
    metrics: [{"metrics/${item.model}.json": {cache: false}}]
  report:
    cmd: python stage.py report report/index.html metrics/sft.json metrics/tgrpo.json
    deps: [stage.py, metrics/sft.json, metrics/tgrpo.json]
    params: [report]
    outs: [report/index.html]
"""

PARAMS = """\
{"shapes": {"value": 1},
 "sft": {"value": 10},
 "tgrpo": {"value": 100, "alpha": 0.3},
 "evaluate": {"value": 1000},
 "report": {"value": 0}}
"""


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def run_dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def edit(root: Path, old: str, new: str, file: str = "params.yaml") -> None:
    """Replaces text that must be there."""
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def build_toy(root: Path) -> Path:
    """A new checkout of the toy, committed, nothing run yet."""
    root.mkdir()
    for name, text in {"stage.py": STAGE, "dvc.yaml": DVC_YAML, "params.yaml": PARAMS}.items():
        (root / name).write_text(text)
    (root / ".gitignore").write_text("/trace\n/go\n/out\n/report\n/runs\n/.work\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "toy")
    git(root, "config", "user.email", "toy@localhost")
    run_dvc(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "toy")
    return root


@pytest.fixture(scope="session")
def new_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy that the tests copy."""
    return build_toy(tmp_path_factory.mktemp("new") / "toy")


@pytest.fixture(scope="session")
def finished_toy(new_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy after a run."""
    root = Path(shutil.copytree(new_toy, tmp_path_factory.mktemp("finished") / "toy"))
    run_dvc(root, "repro")
    return root


@pytest.fixture
def toy(new_toy: Path, tmp_path: Path) -> Path:
    """A checkout of the toy, nothing run yet."""
    return Path(shutil.copytree(new_toy, tmp_path / "toy"))


@pytest.fixture
def finished(finished_toy: Path, tmp_path: Path) -> Path:
    """A checkout of the toy in which all is up to date."""
    return Path(shutil.copytree(finished_toy, tmp_path / "finished"))


@pytest.fixture(scope="session")
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address, and the messages that it has got."""
    messages: list[str] = []
    with listening(messages) as address:
        yield address, messages


@pytest.fixture
def toy_with_deployments(toy: Path) -> Path:
    """A checkout of the toy that `make ui` can deploy."""
    shutil.copy(ROOT / "prefect.yaml", toy)
    return toy


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, webhook: tuple[str, list[str]]) -> Iterator[Service]:
    """`make ui` in a toy checkout, shared by a file's tests."""
    folder = tmp_path_factory.mktemp("service")
    checkout = build_toy(folder / "toy")
    shutil.copy(ROOT / "prefect.yaml", checkout)
    service = Service(checkout, folder / "home", *webhook)
    parts = psutil.Process(service.process.pid).children(recursive=True)
    yield service
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(90) == 0
    assert len(parts) >= 3
    assert ends([part.pid for part in parts])
