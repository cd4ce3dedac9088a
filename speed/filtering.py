"""Time and memory of the filter stage over growing numbers of rows.

    python -m speed.filtering [ROWS …]
    python -m speed.filtering --one-clip [QUESTIONS …]
    python -m speed.filtering --mapped [ROWS …]

The rows are synthetic: by default 10,000, 100,000 and 1,000,000, each in a process of its own. Every rule is on; one
row in ten is a duplicate, one in ten answers wrongly, three questions share a clip. The last line is JSON.
With --one-clip the script measures near_duplicates alone, on different questions about a single clip, against a
comparison of each question with all questions kept before it. With --mapped it measures what other machines could do
of the filter's work (rules about thoughts, words, MinHashes), and what it costs this one to send rows and to receive
results.
"""

import json
import logging
import multiprocessing
import pickle
import random
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

from speed.arguments import parser
from stages.curation.duplicates import NearDuplicates
from stages.curation.params import SampleRule, ThoughtRule
from stages.curation.text import words
from stages.curation.thought_rules import THOUGHT_RULES
from stages.data.annotations import ANNOTATION_SCHEMA, AnnotationRow
from stages.data.sample import Sample, write_samples
from stages.filter import FilterParams, run
from stages.run.files import read_json, table_writer, write_table
from stages.video.clips import CLIPS_SCHEMA
from stages.video.frame_store import FRAME_KEYS_SCHEMA

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RULES = (*get_args(ThoughtRule), *get_args(SampleRule))
COLOURS = ("red", "green", "blue", "grey", "black", "white", "orange")


def sample(number: int) -> Sample:
    """Row `number`; each tenth row repeats the row before it."""
    about = number - 1 if number % 10 == 9 else number
    return Sample(
        sample_id=f"synthetic-{number}",
        source=f"source {number % 3}",
        data_type="video",
        problem_type="multiple choice",
        problem=f"What does the {COLOURS[about % 7]} thing with the number {about} do "
        "after the others have left the picture?",
        options=("A. it moves left", "B. it moves right", "C. it stays", "D. it leaves"),
        answer="B",
        media_path=f"media/{about // 3}.mp4",
        media_sha256=f"{about // 3:064x}",
    )


def answer(number: int) -> AnnotationRow:
    """The answer about row `number`; one in ten is wrong."""
    given = "C" if number % 10 == 3 else "B"
    thought = (
        f"First thing {number} is at the left. "
        f"Then it goes on and on to the other side, so it moves, which is option {given}."
    )
    return {
        "sample_id": f"synthetic-{number}",
        "request_key": str(number),
        "status": "ok",
        "detail": "",
        "text": f"<think>{thought}</think>\n<answer>{given}</answer>",
        "prompt_tokens": 700,
        "completion_tokens": 40,
    }


def write_inputs(folder: Path, rows: int) -> None:
    """The tables that the filter stage reads."""
    write_samples(folder / "samples.parquet", map(sample, range(rows)))
    write_table(folder / "annotations.parquet", map(answer, range(rows)), ANNOTATION_SCHEMA)
    with table_writer(folder / "frames.parquet", FRAME_KEYS_SCHEMA) as write:
        for number in range(rows):
            write({"sample_id": f"synthetic-{number}", "frame_key": str(number)})
    with table_writer(folder / "clips.parquet", CLIPS_SCHEMA) as write:
        for number in range(rows):
            first = f"synthetic-{number // 3 * 3}"
            facts = {"flags": [], "brightness": 90.0, "motion": 3.0, "seconds": 2.0, "keyframes": 1}
            write({"sample_id": f"synthetic-{number}", "same_media": first, "near_clip": first, **facts})
    benchmark = (
        sample(number).model_copy(update={"sample_id": f"held out {number}", "split": "test"})
        for number in range(0, 3000, 1000)
    )
    write_samples(folder / "benchmark.parquet", benchmark)


def measure(folder: Path) -> dict[str, float]:
    """Filter the inputs in `folder` in this process.

    Returns seconds on the clock, seconds of CPU time and the peak resident memory in MB.
    """
    params = FilterParams(rules=RULES, held_out=str(folder / "benchmark.parquet"))
    place = {
        name: folder / f"{name}.parquet"
        for name in ("samples", "annotations", "sft", "rl", "rejects", "frames", "clips")
    }
    start, cpu = time.perf_counter(), time.process_time()
    run(params, frame_keys=place.pop("frames"), metrics=folder / "filter.json", push="", **place)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def one_clip(count: int) -> dict[str, float]:
    """CPU seconds of the rule and of comparing all pairs.

    The `count` questions are about one clip and have 12 to 20 words; every fourth is nearly the same as an earlier one.
    Both ways must drop the same questions, but for 1 in 100.
    """
    draw = random.Random(0)
    questions: list[list[str]] = []
    for number in range(count):
        about = (
            draw.choice(questions)
            if number % 4 == 3
            else [f"w{draw.randrange(2000)}" for _ in range(draw.randint(12, 20))]
        )
        questions.append([*about[1:], f"w{draw.randrange(2000)}"] if number % 4 == 3 else about)
    asked = [
        sample(0).model_copy(update={"sample_id": str(i), "problem": " ".join(each), "options": ()})
        for i, each in enumerate(questions)
    ]
    near, start = NearDuplicates(0.8), time.process_time()
    found = {each.sample_id for each in asked if near(each)}
    ours, start, kept, all_pairs = time.process_time() - start, time.process_time(), list[set[str]](), set[str]()
    for each in asked:
        own = set(words(each.problem))
        if any(len(own & other) / len(own | other) >= 0.8 for other in kept):
            all_pairs.add(each.sample_id)
        else:
            kept.append(own)
    theirs = time.process_time() - start
    assert found <= all_pairs
    missed = len(all_pairs - found)
    assert missed <= 0.01 * len(all_pairs)
    figures = {"cpu_seconds": ours, "all_pairs_cpu_seconds": theirs, "ratio": theirs / ours}
    return {name: round(value, 2) for name, value in figures.items()} | {"dropped": len(found), "missed": missed}


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a function, and its CPU seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def mapped(count: int) -> dict[str, float]:
    """CPU µs per row of independent work, and of pickling it.

    Independent work needs no other row.
    """
    params, near = FilterParams(rules=RULES), NearDuplicates(0.8)

    def judged(row: tuple[Sample, AnnotationRow]) -> tuple[list[str | None], set[str], list[bytes]]:
        asked = set(words(row[0].problem))
        return [rule(*row, params) for rule in THOUGHT_RULES.values()], asked, near._bands(row[0].media_sha256, asked)

    given = [(sample(number), answer(number)) for number in range(count)]
    found, work_s = timed(lambda: [judged(row) for row in given])
    _, send_s = timed(lambda: pickle.dumps(given))
    _, receive_s = timed(partial(pickle.loads, pickle.dumps(found)))
    seconds = {"mappable": work_s, "sending and receiving": send_s + receive_s}
    return {name: round(1e6 * value / count, 1) for name, value in seconds.items()}


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("--one-clip", action="store_true")
    arguments.add_argument("--mapped", action="store_true")
    arguments.add_argument("rows", nargs="*", type=int)
    chosen = arguments.parse_args()
    if chosen.one_clip:
        log.info(json.dumps({count: one_clip(count) for count in chosen.rows or (1000, 10_000)}))
        return
    if chosen.mapped:
        log.info(json.dumps({count: mapped(count) for count in chosen.rows or (20_000,)}))
        return
    result: dict[str, dict[str, float]] = {}
    for rows in chosen.rows or (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_inputs(folder, rows)
            with multiprocessing.get_context("spawn").Pool(1) as process:
                measured = process.apply(measure, (folder,))
            sft = read_json(folder / "filter.json")["sft"]
            assert sft["in"] == rows
            assert sft["dropped"]["correctness"] == rows // 10
            assert sft["dropped"]["duplicates"] == rows // 10
            result[str(rows)] = measured | {"cpu_us_per_row": round(1e6 * measured["cpu_seconds"] / rows, 1)}
            log.info("%9d rows: %s", rows, result[str(rows)])
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
