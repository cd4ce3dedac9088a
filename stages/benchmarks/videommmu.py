"""VideoMMMU: college-level questions in three tracks, answered from a lecture video."""

import glob
from collections.abc import Iterator
from pathlib import Path

from stages.benchmarks.benchmark import Benchmark
from stages.benchmarks.records import Fields, read_benchmark
from stages.data.answer import lettered, parse_number
from stages.data.sample import Reject, Sample


def read(root: Path) -> Iterator[Sample | Reject]:
    """Video-R1's `eval_videommmu.json`, or the official `<track>/test*` files with `<discipline>/<id>.mp4`; the category is the track."""
    yield from read_benchmark(root, "videommmu", lambda fields: fields, _official, "[PCA]*/test*")


def _official(fields: Fields, file: Path) -> Fields:
    root = file.parents[1]
    media = next(iter(sorted(root.glob(f"*/{glob.escape(fields['id'])}.mp4"))), root / f"{fields['id']}.mp4")
    options = lettered(fields["options"] or [])
    open_type = "numerical" if parse_number(str(fields["answer"])) is not None else "free-form"
    return {
        "problem_id": f"{file.parent.name}-{fields['id']}",
        "problem": fields["question"],
        "data_type": "video",
        "problem_type": "multiple choice" if options else open_type,
        "options": options,
        "solution": str(fields["answer"]),
        "path": str(media.relative_to(root)),
        "original_question_type": file.parent.name,
    }


BENCHMARK = Benchmark(read=read)
