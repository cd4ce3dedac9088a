"""Run commands that end at once, each in a fork of one process that has imported Prefect.

    python -m tests.flows.forks FOLDER < commands.json

An import takes seconds, a refusal none. A command is `module word…`; the answers are on the standard output, as JSON.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from tests.root import ROOT


class Said(NamedTuple):
    """What a command left."""

    status: int
    output: str
    errors: str


def said(commands: Sequence[str], folder: Path, home: Path) -> dict[str, Said]:
    """What `python -m command` says in `folder`, for each command; `home` is Prefect's."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home), "PREFECT_API_URL": ""}
    asked = [sys.executable, "-m", "tests.flows.forks", str(folder)]
    done = subprocess.run(
        asked, env=env, input=json.dumps(list(commands)), stdout=subprocess.PIPE, text=True, check=True
    )
    return {command: Said(*answer) for command, answer in zip(commands, json.loads(done.stdout), strict=True)}


def answer(command: str) -> Said:
    """What a command says in a fork of this process."""
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), sys.stdout.fileno())
            os.dup2(errors.fileno(), sys.stderr.fileno())
            sys.argv = command.split()
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            sys.exit()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for file in (output, errors):
            file.seek(0)
        return Said(status, output.read(), errors.read())


def main() -> None:
    """Answer the commands of the standard input."""
    import prefect.server.api.server  # noqa: F401

    gc.freeze()  # or each fork would look through all objects at its end
    os.chdir(sys.argv[1])
    print(json.dumps([answer(command) for command in json.load(sys.stdin)]))  # noqa: T201


if __name__ == "__main__":
    main()
