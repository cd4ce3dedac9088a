"""TOMATO: six kinds of motion in clips of people, objects and simulations."""

import json
from collections.abc import Iterator
from pathlib import Path

from stages.data.options import LETTERS
from stages.data.sample import Reject, Sample
from stages.evaluation.benchmark_records import Fields, Rows, choice, read_benchmark, record_rows
from stages.evaluation.definition import About, Benchmark
from stages.run.errors import UserError

HUB_NAMES = {"shape_trend": "shape&trend", "velocity_frequency": "velocity&frequency"}
KINDS = frozenset({"count", "direction", "rotation", "shape&trend", "velocity&frequency", "visual_cues"})
LARGEST = 64 * 2**20  # bytes of a file, which is read as a whole; the official ones have less than one million


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `data/<kind>.json` or `data/<kind>-*.parquet`, or the evaluator's `test*`.

    The clips are `videos/<demonstration type>/<key>.mp4`; the evaluator's copy has them at the record's own path. The
    category is the kind of reasoning.
    """
    official = ("data/*.json", "test*", "data/test*", "data/*-*.parquet")
    yield from read_benchmark(root, "tomato", lambda fields: fields, _official, *official, rows=_rows)


def _rows(file: Path) -> Rows:
    """The records of an object by their names; other files as usual."""
    if file.suffix != ".json":
        yield from record_rows(file)
        return
    if file.stat().st_size > LARGEST:
        raise UserError(f"{file}: more than {LARGEST} bytes; the official files are far smaller")
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not readable as JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(records, dict):
        raise UserError(f"{file}: no object that holds a record under each name")
    yield from ((str(name), record) for name, record in records.items())


def _official(fields: Fields, file: Path) -> Fields:
    kind = file.stem.partition("-")[0]
    return choice(
        fields["question"],
        fields["options"],
        LETTERS[fields["answer"]],
        fields.get("video_path") or f"videos/{fields['demonstration_type']}/{fields['key']}.mp4",
        fields.get("reason_type") or HUB_NAMES.get(kind, kind),
    )


ABOUT = About(
    questions=1484,
    metric="accuracy",
    hub=("lmms-eval/TOMATO",),
    checked=(
        "reader: records of the official repository, and records in the form of the card of yale-nlp/TOMATO, which "
        "has no clips; the copy by its evaluator's code"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, temporal=KINDS)
