"""The embedded benchmark: questions about moving shapes.

No single frame can answer half of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stages.data.sample import Reject, Sample
from stages.data.sources import Source, read_source
from stages.evaluation.definition import Benchmark

# the families of questions that need the order of frames
TEMPORAL_FAMILIES: Final = ("direction", "order", "changes", "letters", "describe", "position", "end")


def read(root: Path) -> Iterator[Sample | Reject]:
    """The records of `benchmark.json`, as the stage `shapes` writes them.

    The category is the question's family.
    """
    yield from read_source(Source(name="shapes", records="benchmark.json", split="test"), root)


BENCHMARK = Benchmark(read=read, temporal=frozenset(TEMPORAL_FAMILIES))
