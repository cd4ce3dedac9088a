"""CPU seconds and memory of the phases of a step."""

import ctypes
import gc
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}  # bytes, see mallopt(3)

Phase = Literal["rollout", "reference", "policy"]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass
class Cost:
    """CPU seconds and peak megabytes of each phase of a step."""

    seconds: dict[Phase, float] = field(default_factory=dict)
    megabytes: dict[Phase, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, phase: Phase) -> Iterator[None]:
        """Measure the block as a phase."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from the present
        before, begin = _resident("VmRSS"), time.process_time()
        yield
        self.seconds[phase] = time.process_time() - begin
        self.megabytes[phase] = (_resident("VmHWM") - before) / 1024

    @property
    def step(self) -> float:
        """CPU seconds of all phases."""
        return sum(self.seconds.values())


def _resident(name: str) -> int:
    """Kilobytes of memory, now (VmRSS) or at most since the reset (VmHWM)."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])
