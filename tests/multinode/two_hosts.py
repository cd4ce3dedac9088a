"""A small pipeline on the two hosts of tests/multinode/run.sh, seen from worker-1."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import ROOT, finished_run

HOSTS = ("worker-1", "worker-2")
QUICK: Mapping[str, Mapping[str, object]] = {
    "sft": {"max_steps": 6, "batch_size": 4, "samples_per_forward": 2, "save_steps": 2, "threads": 1},
    "tgrpo": {
        "max_steps": 4,
        "questions_per_step": 2,
        "questions_per_forward": 1,
        "group_size": 2,
        "contrast_size": 2,
        "max_new_tokens": 16,
        "save_steps": 2,
        "threads": 1,
        "lora": None,
    },
}


def on(host: str, command: str) -> str:
    """What a shell command on a host prints."""
    done = subprocess.run(["ssh", host, command], capture_output=True, text=True, timeout=60)
    return done.stdout


def left_running() -> list[str]:
    """The processes of trainings on both hosts, launchers included."""
    listed = [on(host, "ps -eo args").splitlines() for host in HOSTS]
    return [line for lines in listed for line in lines if "stages." in line or "deepspeed" in line]


@dataclass
class Training:
    """A command that trains, its output in a file."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8")

    def finish(self, seconds: float = 300) -> int:
        """Its exit status."""
        return self.process.wait(seconds)


class Project:
    """The code and a finished run's data, where DVC can train."""

    def __init__(self, folder: Path) -> None:
        """Copies what trainings need; the parameters are small."""
        self.folder, source = folder, finished_run()
        shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("data", "models"):
            shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("media", "shapes"))
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(ROOT / name, folder)
        (folder / "hosts").write_text("".join(f"{host} slots=1\n" for host in HOSTS))
        self.set({})
        subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)

    def set(self, changes: Mapping[str, Any]) -> None:
        """The embedded parameters with `QUICK`, and `changes` in both trainings."""
        yaml = YAML()
        parameters = yaml.load(ROOT / "params.yaml")
        for stage, quick in QUICK.items():
            parameters[stage].update({**quick, **changes})
        yaml.dump(parameters, self.folder / "params.yaml")

    def start(self, stage: str, **environment: str) -> Training:
        """`dvc repro` of one training, with `environment` besides this process's own."""
        log = self.folder / f"{stage}-{time.monotonic_ns()}.log"
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        inherited["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with open(log, "wb") as file:
            command = [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", stage]
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=inherited | environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Training(process, log)

    def until_checkpoint(self, stage: str, step: int, training: Training) -> None:
        """Wait until the training that has just started has written its checkpoint of that step."""
        started, files = time.time(), f".work/{stage}/*/*/checkpoint-{step}/complete.json"
        while not any(file.stat().st_mtime > started for file in self.folder.glob(files)):
            assert training.process.poll() is None, training.said()
            time.sleep(0.05)


@contextmanager
def mounted(host: str, source: Path | str, target: Path) -> Iterator[None]:
    """Another file or folder in the place of `target`, on one host only."""
    on(host, f"mount --bind {source} {target}")
    try:
        yield
    finally:
        on(host, f"umount {target}")
