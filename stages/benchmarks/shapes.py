"""The embedded benchmark: questions about moving shapes, half of which no single frame can answer."""

from collections.abc import Iterator
from pathlib import Path

from stages.benchmarks.benchmark import Benchmark
from stages.data.sample import Reject, Sample
from stages.data.sources import Source, read_source
from stages.world.questions import TEMPORAL_FAMILIES


def read(root: Path) -> Iterator[Sample | Reject]:
    """The records of `benchmark.json`, as the stage `shapes` writes them; the category is the question's family."""
    yield from read_source(Source(name="shapes", records="benchmark.json", split="test"), root)


BENCHMARK = Benchmark(read=read, temporal=frozenset(TEMPORAL_FAMILIES))
