"""Seconds of the metrics of ten benchmarks, against a plain computation.

    python -m speed.metrics [ROWS]

Ten benchmarks have ROWS predictions in all (default: 30,000), drawn at random, with frames in four orders. The metrics
are read and computed from tables on disk, as the evaluation does. The plain computation goes through the rows once for
each figure, and takes a mean of means by recursion. Every score, gap and interval of both is equal. The last line of
the output is JSON.
"""

import json
import logging
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from speed.arguments import parser
from speed.drawn import CATEGORIES, draw_predictions, draw_samples
from stages.data.order import Order
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import Benchmark
from stages.evaluation.metrics import Entry, Summary, subsets, summarise
from stages.evaluation.predictions import PREDICTION_SCHEMA, PredictionRow, read_predictions
from stages.run.files import write_table

log = logging.getLogger(__name__)

CHANCES: dict[Order, float] = {"ordered": 0.6, "shuffled": 0.45, "reversed": 0.5, "blind": 0.35}
Z = NormalDist().inv_cdf(0.975)


def figures(rows: Sequence[PredictionRow], entry: Entry, benchmark: Benchmark, paired: bool) -> tuple[float, ...]:
    """Value, lower and upper bound of a score or gap, plainly."""
    profile, keep = entry["profile"], subsets(rows, benchmark)[entry["by"], entry["slice"]]
    scores: dict[str, dict[Order, float]] = defaultdict(dict)
    paths: dict[str, tuple[str, ...]] = {}
    for row in rows:
        score = row[profile]
        if keep(row) and score is not None and row["status"] != "error":
            scores[row["sample_id"]][row["order"]] = score
            paths[row["sample_id"]] = benchmark.group(row["category"], row["problem_type"], profile)
    order = entry["order"]
    if paired:
        values = {
            name: found["ordered"] - found[order]
            for name, found in scores.items()
            if "ordered" in found and order in found
        }
    else:
        values = {name: found[order] for name, found in scores.items() if order in found}
    shares = share_of_each([(name, paths[name]) for name in values])
    mean = sum(shares[name] * value for name, value in values.items())
    n = 1 / sum(share**2 for share in shares.values())
    if not paired:
        centre, half = mean + Z**2 / (2 * n), Z * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
        return mean, max(0, (centre - half) / (1 + Z**2 / n)), min(1, (centre + half) / (1 + Z**2 / n))
    square = sum(shares[name] * value**2 for name, value in values.items())
    centre = n * mean / (n + 2)
    half = Z * math.sqrt(((n * square + 2) / (n + 2) - centre**2) / (n + 2))
    return mean, max(-1, centre - half), min(1, centre + half)


def share_of_each(questions: Sequence[tuple[str, tuple[str, ...]]], whole: float = 1.0) -> dict[str, float]:
    """Each question's weight in the mean of means, by its path."""
    groups: dict[str | None, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for name, path in questions:
        groups[path[0] if path else None].append((name, path[1:]))
    if list(groups) == [None]:
        return {name: whole / len(questions) for name, _ in questions}
    found: dict[str, float] = {}
    for members in groups.values():
        found |= share_of_each(members, whole / len(groups))
    return found


def check(rows: Sequence[PredictionRow], summary: Summary, benchmark: Benchmark) -> int:
    """Compare every score and gap; how many there are."""
    for entries, paired in ((summary.scores, False), (summary.gaps, True)):
        for entry in entries:
            plain = figures(rows, entry, benchmark, paired)
            found = (entry["value"], entry["low"], entry["high"])
            assert np.allclose(plain, found, rtol=0, atol=1e-9), f"{entry}: plainly {plain}"
    return len(summary.scores) + len(summary.gaps)


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("rows", nargs="?", type=int, default=30_000)
    n_questions: int = arguments.parse_args().rows // (len(CATEGORIES) * len(CHANCES))
    n_rows, n_figures, read_s, metrics_s, plain_s = 0, 0, 0.0, 0.0, 0.0
    with tempfile.TemporaryDirectory() as place:
        for number, name in enumerate(CATEGORIES):
            rng, benchmark, table = np.random.default_rng(number), get_benchmark(name), Path(place, f"{name}.parquet")
            drawn = draw_predictions(name, draw_samples(name, n_questions, rng), CHANCES, rng)
            write_table(table, drawn, PREDICTION_SCHEMA)
            start = time.perf_counter()
            rows = read_predictions(table)
            read = time.perf_counter()
            summary = summarise(rows, n_questions, benchmark, "official")
            summarised = time.perf_counter()
            n_figures += check(rows, summary, benchmark)
            plain_s += time.perf_counter() - summarised
            read_s, metrics_s, n_rows = read_s + read - start, metrics_s + summarised - read, n_rows + len(rows)
    found = {"rows": n_rows, "figures": n_figures, "read_s": round(read_s, 2), "metrics_s": round(metrics_s, 2)}
    log.info(json.dumps(found | {"plain_s": round(plain_s, 1), "ratio": round(plain_s / metrics_s, 1)}))


if __name__ == "__main__":
    main()
