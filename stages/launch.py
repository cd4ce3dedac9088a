"""Start a training stage on one machine or several.

    python -m stages.launch sft|tgrpo <the stage's flags>

One process is plain Python, several local GPUs are torchrun. With a hostfile DeepSpeed's launcher starts the
processes on several machines (`--hostfile` before the stage's name, or HOSTFILE in the environment; lines like
`worker-1 slots=8`).
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

STAGES = ("sft", "tgrpo")
DEEPSPEED = "deepspeed.launcher.runner"
PASSED_ON = ("RESUME", "FRESH")  # environment variables that processes on other machines read too


class Launch(NamedTuple):
    """A stage, its flags, local processes, and DeepSpeed's hostfile if given."""

    stage: str
    flags: list[str]
    processes: int
    hostfile: Path | None


def launch_command(launch: Launch) -> list[str]:
    """The command that runs `python -m stages.<stage>` in every process.

    With a hostfile, its slots say how many processes run on each machine.
    """
    module = [f"stages.{launch.stage}", *launch.flags]
    if launch.hostfile is not None:
        runner = [DEEPSPEED, "--hostfile", str(launch.hostfile), "--no_local_rank", "--module"]
        return [sys.executable, "-m", *runner, *module]
    if launch.processes > 1:
        torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={launch.processes}", "-m"]
        return [sys.executable, "-m", *torchrun, *module]
    return [sys.executable, "-m", *module]


def parse(arguments: Sequence[str]) -> Launch:
    """A command line as a `Launch`.

    The number of processes is by default PROCESSES, or one per local GPU.
    """
    parser = argparse.ArgumentParser(
        prog="python -m stages.launch", description="Start a training stage on one, several or many devices."
    )
    parser.add_argument(
        "--hostfile",
        type=Path,
        default=os.environ.get("HOSTFILE"),
        help="DeepSpeed hostfile: train on several machines",
    )
    parser.add_argument(
        "--processes", type=int, default=os.environ.get("PROCESSES"), help="processes here (default: one per GPU)"
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="the stage's own flags")
    chosen = parser.parse_args(arguments)
    if chosen.hostfile is not None and not chosen.hostfile.is_file():
        parser.error(f"no hostfile at {chosen.hostfile}; unset HOSTFILE to train on this machine alone")
    processes = chosen.processes if chosen.processes is not None else max(1, torch.cuda.device_count())
    return Launch(chosen.stage, chosen.flags, processes, chosen.hostfile)


def run_torchrun(arguments: Sequence[str]) -> int:
    """Run torchrun in this process.

    Its status is that of the process that failed first.

    The processes have said what is wrong, so torchrun's own traceback is left out.
    """
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        torchrun.main(arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode  # as a shell reports a signal
    except SignalException as error:
        return 128 + error.sigval
    return 0


def run_deepspeed(arguments: Sequence[str]) -> None:
    """Run DeepSpeed's launcher in this process.

    It starts the processes by ssh, with the variables of the environment that it knows and `PASSED_ON`.
    """
    from deepspeed.launcher import runner

    runner.EXPORT_ENVS.extend(PASSED_ON)
    runner.main(arguments)


if __name__ == "__main__":
    start = parse(sys.argv[1:])
    if start.hostfile is not None:
        run_deepspeed(launch_command(start)[3:])
        sys.exit()
    if start.processes > 1:
        sys.exit(run_torchrun(launch_command(start)[3:]))
    # The launcher becomes the stage: signals, exit code and output are the stage's own.
    os.execv(sys.executable, launch_command(start))
