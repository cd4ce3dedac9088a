"""What a running stage writes, shown by Prefect.

Its lines go to the log of the task. Its progress bar becomes an artifact that moves while the stage runs.
"""

import re
import secrets
from collections import deque
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.text import printable

TAIL = 12


class StageLog:
    """The log of one stage.

    tail: its last lines; mark: what a line of the progress bar begins with (stages/run/progress.py), a secret of this
    log, so that no text of a record can pass for progress.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.logger = get_run_logger()
        self.artifact: UUID | None = None
        self.mark = f"progress-{secrets.token_hex(8)}"
        self.progress = re.compile(rf"{self.mark}: (\d+)/(\d+) (.*)")

    def take(self, line: str) -> None:
        """Takes a line that the stage has written."""
        if found := self.progress.fullmatch(line):
            percent = 100 * int(found[1]) / max(1, int(found[2]))
            self.show(percent, f"{percent:.0f} %: {found[1]} of {found[2]} {found[3]}")
        elif line:
            self.tail.append(printable(line))
            self.logger.info("%s", printable(line))

    def show(self, percent: float, text: str) -> None:
        """Moves the bar in the UI.

        The stage goes on when the server is away: a bar that stands still is no reason to lose a stage.
        """
        try:
            if self.artifact is None:
                key = "progress-" + re.sub(r"[^a-z0-9]+", "-", self.stage.lower())
                self.artifact = cast("UUID", create_progress_artifact(percent, key=key, description=text))
            else:
                update_progress_artifact(self.artifact, progress=percent, description=text)
        except httpx.HTTPError as error:
            self.logger.warning("the progress could not be shown: %s", error)
