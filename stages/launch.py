"""Start a training stage on whatever this machine has, with one command for all machines:

    python -m stages.launch sft|tgrpo <the stage's flags>

Plain Python for one process, torchrun for several local GPUs, DeepSpeed's multi-node launcher when a hostfile is given
(`--hostfile` before the stage's name, or HOSTFILE in the environment; lines like `worker-1 slots=8`).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

STAGES = ("sft", "tgrpo")


def launch_command(stage: str, flags: Sequence[str], processes: int, hostfile: Path | None) -> list[str]:
    """The command that runs `python -m stages.<stage>` in every process; with a hostfile, its slots say how many run on each node."""
    module = [f"stages.{stage}", *flags]
    if hostfile is not None:
        return [
            sys.executable,
            "-m",
            "deepspeed.launcher.runner",
            "--hostfile",
            str(hostfile),
            "--no_local_rank",
            "--module",
            *module,
        ]
    if processes > 1:
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            "-m",
            *module,
        ]
    return [sys.executable, "-m", *module]


def parse(arguments: Sequence[str]) -> tuple[str, list[str], int, Path | None]:
    """Stage, its flags, processes (default: PROCESSES, or one per local GPU) and hostfile of a command line."""
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
    return chosen.stage, chosen.flags, processes, chosen.hostfile


if __name__ == "__main__":
    # The launcher becomes the stage: signals, exit code and output are the stage's own.
    os.execv(sys.executable, launch_command(*parse(sys.argv[1:])))
