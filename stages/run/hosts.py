"""The hosts of a training over ssh: their list and readiness."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.run.errors import UserError

LINE = re.compile(r"(\w[\w.-]*)\s+slots=[1-9]\d*")  # also what a shell takes as one word
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
UNREACHABLE, NO_FOLDER, NO_PYTHON = 255, 3, 4  # exit codes: of ssh, and of the command that `_problem` sends


def hosts_of(hostfile: Path) -> list[str]:
    """The names of the hosts in DeepSpeed's hostfile.

    UserError for a bad line.
    """
    lines = [line.strip() for line in hostfile.read_text(encoding="utf-8").splitlines()]
    hosts = []
    for line in (line for line in lines if line and not line.startswith("#")):
        found = LINE.fullmatch(line)
        if found is None:
            raise UserError(f"{hostfile}: '{line}' is not like 'worker-1 slots=8': the host's name and its processes")
        hosts.append(found[1])
    if not hosts or len(set(hosts)) < len(hosts):
        raise UserError(f"{hostfile} names {'a host twice' if hosts else 'no host'}: give each host one line")
    return hosts


def refuse_unready(hosts: Sequence[str]) -> None:
    """UserError that names each host that cannot start, and why."""
    if shutil.which("pdsh") is None:
        raise UserError("DeepSpeed starts processes on several machines with pdsh: install the package pdsh here")
    with ThreadPoolExecutor(len(hosts)) as pool:
        problems = [problem for problem in pool.map(_problem, hosts) if problem is not None]
    if problems:
        raise UserError("; ".join(problems))


def _problem(host: str) -> str | None:
    """Why a host cannot start the project, or None."""
    folder, python = str(Path.cwd()), sys.executable
    asked = (
        f"cd {shlex.quote(folder)} && test -f stages/launch.py || exit {NO_FOLDER}; "
        f"test -x {shlex.quote(python)} || exit {NO_PYTHON}"
    )
    done = subprocess.run([*SSH, host, asked], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    reasons = {
        UNREACHABLE: f"ssh does not reach it without a password ({said[0]})",
        NO_FOLDER: f"the project is not at {folder}, where it is here; give all hosts the same path",
        NO_PYTHON: f"there is no {python}; install the project's environment at the same path on all hosts",
    }
    return None if done.returncode == 0 else f"{host}: {reasons.get(done.returncode, said[0])}"
