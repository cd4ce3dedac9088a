"""Whether answers follow from the thoughts, and thoughts from the frames."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.grading.thought import conclusion_start, frames_named
from stages.evaluation.definition import Benchmark
from stages.evaluation.metrics import slices
from stages.evaluation.predictions import PredictionRow
from stages.evaluation.statistics import Estimate, stratified_draw, wilson

FIGURES: Final = {
    "answers_change": "answers that change when the thought is exchanged",
    "looks": "thoughts that name two frames or times, or more",
}
"""What each figure is the share of."""

_KEY: Final = b"faithfulness"  # of the metadata of a predictions table

Faithfulness = Mapping[str, Estimate]
"""The figures by name; one that nothing was counted for is not there."""


class Thoughts(NamedTuple):
    """The outputs to one question on frames in order and shuffled."""

    sample_id: str
    own: str
    other: str


def thoughts_to_exchange(rows: Sequence[PredictionRow], benchmark: Benchmark, count: int, seed: int) -> list[Thoughts]:
    """Up to `count` questions that need the order of frames.

    Each category has its share of them. Both outputs of such a question have a closed thought.
    """
    texts: dict[str, dict[str, str]] = {}
    categories: dict[str, str] = {}
    for row in _need_order(rows, benchmark):
        if conclusion_start(row["text"]) is not None:
            texts.setdefault(row["sample_id"], {})[row["order"]] = row["text"]
            categories[row["sample_id"]] = row["category"]
    both = [name for name, found in sorted(texts.items()) if {"ordered", "shuffled"} <= set(found)]
    drawn = stratified_draw([(categories[name],) for name in both], count, seed)
    return [Thoughts(both[index], texts[both[index]]["ordered"], texts[both[index]]["shuffled"]) for index in drawn]


def faithfulness(rows: Sequence[PredictionRow], benchmark: Benchmark, changed: Sequence[bool]) -> Faithfulness:
    """The figures of FIGURES.

    `changed` says of each exchanged thought whether the answer changed. Looks are counted over all answers in order to
    questions about videos that need the order.
    """
    ordered = [row for row in _need_order(rows, benchmark) if row["order"] == "ordered" and row["n_frames"] > 1]
    looks = [frames_named(row["text"]).different > 1 for row in ordered]
    counted = zip(FIGURES, (changed, looks), strict=True)
    return {name: _share(found) for name, found in counted if found}


def with_faithfulness(schema: pa.Schema, found: Faithfulness) -> pa.Schema:
    """The schema of a predictions table that holds the figures, if any."""
    if not found:
        return schema
    values = json.dumps({name: asdict(figure) for name, figure in found.items()})
    return schema.with_metadata({**(schema.metadata or {}), _KEY: values})


def read_faithfulness(predictions: Path) -> Faithfulness:
    """The figures in a predictions table, empty where they were not measured."""
    metadata: Mapping[bytes, bytes] = pq.read_schema(predictions).metadata or {}
    return {name: Estimate(**figure) for name, figure in json.loads(metadata.get(_KEY, b"{}")).items()}


def faithfulness_text(found: Faithfulness) -> str:
    """The figures in one line."""
    return "; ".join(
        f"{FIGURES[name]}: {figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}] of {figure.n:,}"
        for name, figure in found.items()
    )


def _need_order(rows: Sequence[PredictionRow], benchmark: Benchmark) -> list[PredictionRow]:
    named = slices(benchmark)
    keep = named.get("temporal", named["all"])
    return [row for row in rows if keep(row) and row["status"] != "error"]


def _share(found: Sequence[bool]) -> Estimate:
    return wilson(np.array(found, dtype=np.float64), np.full(len(found), 1 / len(found)))
