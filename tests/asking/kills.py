"""A stage that asks, killed in the middle."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.warm import Started


def run_whole_and_cut(start: Callable[[str], Started], work: Path, answers: int, out: str) -> None:
    """Run `whole`, and run `cut`, which is killed while it asks and then started again.

    `start` starts a run of this name in a process, `work` is the stage's folder in .work, `answers` how many a run
    asks for, and `out` the file that stands for its outputs, with `{}` for the name.
    """

    def journaled() -> int:
        return sum(len(path.read_bytes().splitlines()) for path in work.glob("cut-*/*/*/outputs.jsonl"))

    start("whole").finish()
    cut = start("cut")
    while not journaled():
        assert cut.poll() is None
        time.sleep(0.005)
    cut.kill()
    assert cut.poll() == -signal.SIGKILL
    assert 1 <= journaled() < answers
    assert not Path(out.format("cut")).exists()
    start("cut").finish()
    assert journaled() == answers
    assert Path(out.format("cut")).read_bytes() == Path(out.format("whole")).read_bytes()
