"""One training stage runs at a time.

That holds for all runs on this machine with the same PREFECT_HOME. The kernel holds the slot: it is free as soon as the
last process of the training is gone, however the run ended.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect import get_run_logger
from prefect.settings import PREFECT_HOME

from flows.errors import UsageError
from flows.lock import hold_one
from flows.runs import run_name

STAGES = ("sft", "tgrpo")
VARIABLE = "VIDEO_R1_TRAININGS"  # how many may train at once, where several GPUs allow it


@contextmanager
def training_slot(is_cancelled: Callable[[], bool]) -> Iterator[int]:
    """Waits for a slot and yields the descriptor of its lock.

    The log names the run that holds it. WaitCancelled when the run is cancelled meanwhile.
    """

    def tell(holder: str) -> None:
        get_run_logger().warning("waiting: %s trains; one training stage runs at a time", holder)

    paths = [PREFECT_HOME.value() / f"training-{number}.lock" for number in range(slots())]
    with hold_one(paths, run_name(), tell, is_cancelled=is_cancelled) as descriptor:
        yield descriptor


def slots() -> int:
    """How many stages may train at once; 1 unless VIDEO_R1_TRAININGS says more."""
    text = os.environ.get(VARIABLE, "1")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{VARIABLE} is {text!r}: set it to a whole number of at least 1")
    return int(text)
