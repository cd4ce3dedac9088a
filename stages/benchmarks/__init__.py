"""The benchmarks: one file each, with its records, its media and its metric. A new one is a file here and its line in `BENCHMARKS`."""

import difflib

from stages.benchmarks import mmvu, mvbench, shapes, tempcompass, videomme, videommmu, vsi_bench
from stages.benchmarks.benchmark import Benchmark
from stages.data.errors import UserError

BENCHMARKS: dict[str, Benchmark] = {
    "shapes": shapes.BENCHMARK,
    "vsi_bench": vsi_bench.BENCHMARK,
    "videommmu": videommmu.BENCHMARK,
    "mmvu": mmvu.BENCHMARK,
    "mvbench": mvbench.BENCHMARK,
    "tempcompass": tempcompass.BENCHMARK,
    "videomme": videomme.BENCHMARK,
}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark called `name`; UserError that lists the known ones."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = difflib.get_close_matches(name, BENCHMARKS, n=1)
    raise UserError(f"unknown benchmark '{name}'; " + (f"did you mean '{near[0]}'?" if near else f"known: {', '.join(BENCHMARKS)}"))
