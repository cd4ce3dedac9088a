"""Brings one stage up to date and writes down what happened.

    python -m flows.reproduce STAGE RESULT [--force]

The flow runs this program for each stage that may have to run. The file RESULT gets the end of the stage as JSON. It
rests on what DVC did in this process, never on a line of output: a stage prints text of records and servers, and such
a line may claim anything.
"""

import argparse
import json
import logging
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo

from flows.graph import StageEnd
from flows.text import printable

BUSY_SECONDS = 5
QUIET = ("dvc.dvcfile", "dvc.repo.scm_context")  # loggers that only give hints on `git add`


class CommandWatch(logging.Handler):
    """Notes whether DVC started the command of a stage."""

    has_started = False

    def emit(self, record: logging.LogRecord) -> None:
        """Takes what `dvc.stage.run` logs; one record is the start."""
        self.has_started |= str(record.msg).startswith("Running stage")


def reproduce(root: Path, stage: str, force: bool) -> StageEnd:
    """Does what `dvc repro -s` does.

    When somebody's own `dvc repro` works on the stage or its inputs, DVC gives up and names that process. Then DVC is
    asked again every few seconds.
    """
    command = CommandWatch()
    logging.getLogger("dvc.stage.run").addHandler(command)
    has_waited = False
    while True:
        try:
            with Repo(str(root), _wait_for_lock=True) as repo:
                done = Repo.reproduce(repo, stage, single_item=True, force=force)
        except DvcException as error:
            if isinstance(error.__cause__, LockError):
                if not has_waited:
                    say(str(error.__cause__))
                has_waited = True
                time.sleep(BUSY_SECONDS)
                continue
            say(": ".join(str(reason) for reason in (error, error.__cause__) if reason))
            return {"state": "Failed", "status": exit_status(error.__cause__)}
        if not done:
            return {"state": "Cached", "status": 0}
        return {"state": "Completed" if command.has_started else "Restored", "status": 0}


def exit_status(error: BaseException | None) -> int:
    """A command's exit status, which ends DVC's error."""
    found = re.search(r", exited with (-?\d+)$", str(error))
    return int(found[1]) if found else 1


def say(text: str) -> None:
    """Writes lines of DVC's own."""
    for line in text.splitlines():
        sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Reproduces the stage; 0 unless it failed."""
    parser = argparse.ArgumentParser("python -m flows.reproduce", description="Bring one stage up to date with DVC.")
    parser.add_argument("stage", help="a stage, or one item of a matrix stage")
    parser.add_argument("result", type=Path, help="the JSON file to write")
    parser.add_argument("--force", action="store_true", help="run the stage even if nothing changed")
    options = parser.parse_args(arguments)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    end = reproduce(Path.cwd(), options.stage, options.force)
    temporary = cast("Path", options.result).with_suffix(".new")
    temporary.write_text(json.dumps(end))
    os.replace(temporary, options.result)
    return 1 if end["state"] == "Failed" else 0


if __name__ == "__main__":
    sys.exit(main())
