"""Stages in processes of their own that start warm.

A server of multiprocessing imports the libraries once and forks a process for each start. They take five seconds of CPU
time in a cold process, ten under DeepSpeed, and a short training takes one. Each process imports the project itself.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from torch._C._distributed_c10d import TCPStore

from tests.root import ROOT

LIBRARIES = (
    *("torch", "transformers.trainer", "transformers.models.auto.modeling_auto", "accelerate", "peft", "datasets"),
    *("deepspeed.runtime.engine", "deepspeed.runtime.zero.muon.muon_optimizer", "openai.types.responses"),
    *("pyarrow.parquet", "pydantic", "ruamel.yaml", "PIL.Image", "aiohttp", "jiwer"),
)
LOG = "said.log"  # in the folder of a start: stdout and stderr of its processes
POLL = 0.01  # seconds

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(list(LIBRARIES))


@dataclass
class Started:
    """The processes of a start; `store` is where they meet."""

    processes: list[ForkServerProcess]
    log: Path
    store: TCPStore | None

    @property
    def said(self) -> str:
        """What all processes wrote."""
        return self.log.read_text()

    def poll(self) -> int | None:
        """The exit status, or None while all run that have not ended well.

        As torchrun does, the first process that fails ends the others.
        """
        codes = [process.exitcode for process in self.processes]
        if any(codes):
            self.kill()
            return next(code for code in codes if code)
        return None if None in codes else 0

    def wait(self, seconds: float) -> int:
        """The exit status; a run that takes longer is killed and fails."""
        end = time.monotonic() + seconds
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"still running after {seconds} s: {self.said[-4000:]}")
            time.sleep(POLL)
        return status

    def finish(self, seconds: float = 300) -> None:
        """Wait for a run that must end well."""
        status = self.wait(seconds)
        assert status == 0, self.said[-4000:]

    def kill(self) -> None:
        """SIGKILL all processes."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()


def start(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    processes: int = 1,
    project: Path = ROOT,
    environment: Mapping[str, str] = {},
) -> Started:
    """`python -m module arguments` in `folder`, in so many processes that work together.

    `project` is the folder that has the module, `environment` what the processes have besides this one's.
    """
    variables = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"} | dict(environment)
    store = None
    if processes > 1:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=300))
        variables |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        variables |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    log = folder / LOG
    log.write_text("")
    made = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        made.append(_server.Process(target=_run, args=(module, list(arguments), folder, variables | own), daemon=True))
        made[-1].start()
    return Started(made, log, store)


def _run(module: str, arguments: list[str], folder: Path, variables: dict[str, str]) -> None:
    """One of the processes; it ends with pytest, however that ends."""
    threading.Thread(target=_end_with_pytest, daemon=True).start()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path.insert(0, variables["PYTHONPATH"])
    said = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND)
    os.dup2(said, sys.stdout.fileno())
    os.dup2(said, sys.stderr.fileno())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_pytest() -> None:
    pytest = multiprocessing.parent_process()
    assert pytest is not None
    pytest.join()
    os.kill(os.getpid(), signal.SIGKILL)
