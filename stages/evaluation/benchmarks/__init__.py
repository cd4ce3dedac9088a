"""The benchmarks, one file each: records, media and metric.

A new benchmark is a new file here that defines `BENCHMARK`.
"""

import difflib
import importlib
import re
from pathlib import Path

from stages.evaluation.definition import Benchmark
from stages.run.errors import UserError


def names() -> list[str]:
    """The names of all benchmarks: the modules here that define `BENCHMARK`."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if re.search(r"^BENCHMARK = ", file.read_text(encoding="utf-8"), re.MULTILINE)]


def get_benchmark(name: str) -> Benchmark:
    """The benchmark called `name`; UserError when there is none."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names())}"
        raise UserError(f"unknown benchmark '{name}'; {advice}")
    return importlib.import_module(f"stages.evaluation.benchmarks.{name}").BENCHMARK
