"""Start a training stage on one machine or several.

    python -m stages.launch sft|tgrpo <the stage's flags>

One process is plain Python, several local GPUs are torchrun. Several machines (docs/cluster.md):

- with a hostfile (`--hostfile`, or HOSTFILE in the environment; lines like `worker-1 slots=8`) DeepSpeed's launcher
  starts all processes by ssh;
- with a meeting point (`--rendezvous`, or RENDEZVOUS=worker-1:29500 and NODES=2) torchrun waits there for the same
  command on the other machines;
- a Slurm job of several nodes starts that command on each of them.

Without flags the stage takes those of dvc.yaml.
"""

import argparse
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from ruamel.yaml import YAML
from torch.distributed import DistError
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError

from stages.run.command import one_line
from stages.run.errors import UserError
from stages.run.hosts import hosts_of, refuse_unready

STAGES = ("sft", "tgrpo")
DEEPSPEED = "deepspeed.launcher.runner"
# Environment variables that processes on other machines read too, by their first letters. Secrets are not among them:
# everybody on those machines can read a command line.
PASSED_ON = ("RESUME", "FRESH", "GLOO_", "HF_HOME", "HF_HUB_", "OMP_", "VIDEO_R1_PROGRESS")
# A connection to a machine that is lost ends within 20 s.
SSH_OPTIONS = "-o BatchMode=yes -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
FIRST_PORT, PORTS = 29500, 1000  # of meeting points in Slurm jobs, by the job's number


class Launch(NamedTuple):
    """How a stage is started.

    It has the stage, its flags, the processes of this machine, and where the other machines are.
    """

    stage: str
    flags: list[str]
    processes: int
    hostfile: Path | None = None
    nodes: int = 1
    rendezvous: str | None = None


def launch_command(launch: Launch) -> list[str]:
    """The command that runs `python -m stages.<stage>` in every process.

    With a hostfile, its slots say how many processes run on each machine.
    """
    module, python = [f"stages.{launch.stage}", *launch.flags], [sys.executable, "-m"]
    if launch.hostfile is not None:
        runner = [DEEPSPEED, "--hostfile", str(launch.hostfile), "--force_multi", "--no_local_rank"]
        address = os.environ.get("MASTER_ADDR")
        where = ["--master_addr", address] if address else []
        return [*python, *runner, *where, "--log_level", "critical", "--module", *module]
    if launch.rendezvous is not None:
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={launch.rendezvous}", f"--rdzv-id={launch.stage}"]
        share = [f"--nnodes={launch.nodes}", f"--nproc-per-node={launch.processes}"]
        return [*python, "torch.distributed.run", *share, *meeting, "-m", *module]
    if launch.processes > 1:
        return [
            *python, "torch.distributed.run", "--standalone", f"--nproc-per-node={launch.processes}", "-m", *module
        ]  # fmt: skip
    return [*python, *module]


def parse(arguments: Sequence[str]) -> Launch:
    """A command line as a `Launch`.

    The number of processes is by default PROCESSES, or one per local GPU.
    """
    given = os.environ.get
    parser = argparse.ArgumentParser(
        prog="python -m stages.launch", description="Start a training stage on one, several or many devices."
    )
    parser.add_argument(
        "--hostfile", type=Path, default=given("HOSTFILE"), help="DeepSpeed hostfile: train on several machines by ssh"
    )
    parser.add_argument(
        "--rendezvous", default=given("RENDEZVOUS"), help="HOST:PORT where several machines meet without ssh"
    )
    parser.add_argument("--nodes", type=int, default=given("NODES", "1"), help="how many machines meet there")
    parser.add_argument(
        "--processes", type=int, default=given("PROCESSES"), help="processes here (default: one per GPU)"
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="the stage's own flags")
    chosen = parser.parse_args(arguments)
    if chosen.hostfile is not None and not chosen.hostfile.is_file():
        parser.error(f"no hostfile at {chosen.hostfile}; unset HOSTFILE to train on this machine alone")
    if (chosen.nodes > 1) != (chosen.rendezvous is not None):
        parser.error("several machines meet with both RENDEZVOUS=HOST:PORT and NODES=2 or more: set both or none")
    if chosen.hostfile is not None and chosen.rendezvous is not None:
        parser.error("HOSTFILE starts the processes by ssh, RENDEZVOUS without: unset one of them")
    processes = chosen.processes if chosen.processes is not None else max(1, torch.cuda.device_count())
    flags = chosen.flags or pipeline_flags(chosen.stage)
    return Launch(chosen.stage, flags, processes, chosen.hostfile, chosen.nodes, chosen.rendezvous)


def pipeline_flags(stage: str) -> list[str]:
    """The flags with which dvc.yaml, if it is here, starts the stage."""
    pipeline = Path("dvc.yaml")
    if not pipeline.exists():
        return []
    command = YAML(typ="safe", pure=True).load(pipeline)["stages"][stage]["cmd"]
    return shlex.split(command.partition(f"stages.launch {stage}")[2])


def slurm_command(launch: Launch) -> list[str] | None:
    """The srun command that starts this command once on each node.

    None outside a job of several nodes, and in what srun has started.
    """
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if nodes == 1 or "SLURM_STEP_ID" in os.environ or launch.hostfile is not None or launch.rendezvous is not None:
        return None
    listed = subprocess.check_output(["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]], text=True)
    port = FIRST_PORT + int(os.environ["SLURM_JOB_ID"]) % PORTS
    once_each = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    meeting = ["--nodes", str(nodes), "--rendezvous", f"{listed.split()[0]}:{port}"]
    return [*once_each, sys.executable, "-m", "stages.launch", *meeting, launch.stage, *launch.flags]


def run_torchrun(arguments: Sequence[str]) -> int:
    """Run torchrun in this process.

    Its status is that of the process that failed first. UserError when the other machines do not come.

    The processes have said what is wrong, so torchrun's own traceback is left out.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun.main(arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode  # as a shell reports a signal
    except SignalException as error:
        return 128 + error.sigval
    except (RendezvousError, DistError) as error:
        raise UserError(
            f"not all machines met ({error}): start the command on each of NODES machines, all with one RENDEZVOUS "
            "that they reach"
        ) from None
    return 0


def run_deepspeed(hostfile: Path, arguments: Sequence[str]) -> None:
    """Run DeepSpeed's launcher in this process.

    It starts the processes by ssh, with the variables of the environment that it knows and `PASSED_ON`. UserError when
    a host cannot start them.
    """
    from deepspeed.launcher import runner

    refuse_unready(hosts_of(hostfile))
    os.environ["PDSH_SSH_ARGS_APPEND"] = f"{SSH_OPTIONS} {os.environ.get('PDSH_SSH_ARGS_APPEND', '')}"
    runner.EXPORT_ENVS.extend(PASSED_ON)
    runner.main(arguments)


def main(arguments: Sequence[str]) -> None:
    """Start what the command line asks for."""
    launch = parse(arguments)
    command = slurm_command(launch) or launch_command(launch)
    if launch.hostfile is not None:
        run_deepspeed(launch.hostfile, command[3:])
    elif command[2] == "torch.distributed.run":
        sys.exit(run_torchrun(command[3:]))
    else:
        # The launcher becomes the stage, or srun: signals, exit code and output are those of what it starts.
        os.execvp(command[0], command)


if __name__ == "__main__":
    with one_line("launch"):
        main(sys.argv[1:])
