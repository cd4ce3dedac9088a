"""V-STaR: what happens in a video, and when.

`when` is asked twice: alone, and with the object's place told.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.evaluation import spans
from stages.evaluation.benchmark_records import Fields, Rows, read_benchmark, record_rows
from stages.evaluation.definition import About, Benchmark, Judging, Profile, ScoredRow
from stages.evaluation.statistics import Estimate

WHEN = ("when", "when-after-where")  # the first and the second of the benchmark's chains of questions


def read(root: Path) -> Iterator[Sample | Reject]:
    """The official `V_STaR_test.json` with `<vid>.mp4` anywhere below.

    Each record gives three questions, and their name is the category: `what`, `when`, and `when-after-where`, which
    tells the boxes of the object. The questions `where` are left out: a box needs the size that the model saw.
    """
    file = "V_STaR_test.json"
    yield from read_benchmark(root, "v_star", lambda fields: fields, _official, file, f"*/{file}", rows=_rows)


def score(prediction: str | None, sample: Sample, profile: Profile) -> float | None:
    """The overlap of the two spans, None for `what`.

    The benchmark gives `what` to a judge.
    """
    return spans.overlap(prediction, sample.answer) if sample.category in WHEN else None


def judged(prediction: str | None, sample: Sample) -> Judging | None:
    """A judge decides `what`; spans are no words to compare."""
    return None if sample.category in WHEN else "answer"


def figures(rows: Sequence[ScoredRow], profile: Profile) -> dict[str, Estimate]:
    """R@0.3, R@0.5 and R@0.7 of each kind of `when`."""
    return {
        f"{kind} {name}": found
        for kind in WHEN
        for name, found in spans.recalls([row for row in rows if row["category"] == kind], profile).items()
    }


def _rows(file: Path) -> Rows:
    """Each record once for every question of it."""
    for place, raw in record_rows(file):
        if isinstance(raw, dict):
            yield from ((f"{place}-{kind}", {**raw, "kind": kind}) for kind in ("what", *WHEN))
        else:
            yield place, raw


def _official(fields: Fields, file: Path) -> Fields:
    start, end = map(float, fields["timestamps"])
    is_what = fields["kind"] == "what"
    return {
        "problem": fields["question"] if is_what else _when(fields),
        "data_type": "video",
        "problem_type": "free-form",
        "solution": fields["answer"] if is_what else f"{start} - {end}",
        "path": f"{fields['vid']}.mp4",
        "original_question_type": fields["kind"],
    }


def _when(fields: Fields) -> str:
    """The question with what the benchmark tells of the video.

    The words are ours.
    """
    length = round(fields["frame_count"] / fields["fps"], 2)
    told = f"This video is {length} seconds long."
    if fields["kind"] == "when-after-where":
        boxes = [[box[side] for side in ("xmin", "ymin", "xmax", "ymax")] for box in fields["bboxes"]]
        size = f"{fields['width']}x{fields['height']}"
        told += f" Its frames have {size} pixels, and the object is in these boxes [x1, y1, x2, y2] of them: {boxes}."
    return f"{told} {fields['temporal_question']} {spans.ADVICE}"


ABOUT = About(
    questions=2090,
    metric="mean tIoU and R@0.3, R@0.5, R@0.7 of `when` in both chains; `what` needs a judge, so mAM and mLGM do too",
    hub=("V-STaR-Bench/V-STaR",),
    checked=(
        "reader: the fields that the official inference code reads, three questions of each record; no official "
        "record was seen; the hub counts 2.09k records; `where` is not asked; scorer: the official tIoU, and times "
        "like 00:03 count too; the wording is ours"
    ),
)
BENCHMARK = Benchmark(about=ABOUT, read=read, score=score, judged=judged, figures=figures, temporal=frozenset(WHEN))
