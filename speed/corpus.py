"""Time and memory of a corpus's records through the curating stages.

    python -m speed.corpus [CLIPS...]

By default 100,000 and 1,000,000 clips with one question each go through ingest, frames and filter, each stage in a
process of its own with its workers. Every clip is a file of its own that ingest reads and probes: a tiny picture,
because probing an mp4 takes ten times as long. The frame store is filled beforehand with 16 random hashes for each clip
and no pictures, so frames decodes nothing: it finds the rows and compares the clips. Each tenth clip looks nearly like
an earlier one. The filter runs all rules on a made answer for each. `peak_mb` adds up the resident memory of a stage's
processes, so it counts shared pages several times. The last line is JSON.
"""

import io
import json
import logging
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

import psutil
from PIL import Image

from speed.arguments import parser
from speed.filtering import COLOURS, RULES
from speed.near_duplicates import clips
from stages.data.annotations import ANNOTATION_SCHEMA
from stages.data.sample import iterate_samples, write_samples
from stages.data.shards import ShardStore
from stages.data.sources import Source
from stages.filter import FilterParams
from stages.filter import run as run_filter
from stages.frames import FramesParams
from stages.frames import run as run_frames
from stages.ingest import IngestParams
from stages.ingest import run as run_ingest
from stages.run.files import read_json, write_json_array, write_table
from stages.video.frame_store import SCHEMA, FrameRow

log = logging.getLogger(__name__)

ANSWER = "It begins at the left. Then it goes on and on to the other side, so it moves right, which is option B."
FRAMES = FramesParams(
    policy="uniform",
    max_frames=16,
    min_pixels=3136,
    max_pixels=100_352,
    factor=28,
    kernel="transformers",
    max_rejected=0,
)
PER_FOLDER = 1000


class Figures(TypedDict):
    """What a stage took."""

    seconds: float
    cpu_seconds: float
    peak_mb: int


def write_source(folder: Path, count: int) -> None:
    """The records, and a file for each."""
    folder.mkdir()
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    for number in range(count):
        path = folder / _name(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture.getvalue() + number.to_bytes(8, "big"))
    write_json_array(folder / "records.json", map(_record, range(count)))


def _name(number: int) -> str:
    return f"{number // PER_FOLDER}/{number}.png"


def _record(number: int) -> dict[str, object]:
    thing = "first" if number % 10 == 0 else COLOURS[number % 7]
    return {
        "problem_id": number,
        "problem": f"What does the {thing} thing do after all the others have left the picture?",
        "data_type": "image",
        "problem_type": "multiple choice",
        "options": ["A. it moves left", "B. it moves right", "C. it stays", "D. it leaves"],
        "solution": "<answer>B</answer>",
        "path": _name(number),
    }


def ingest(folder: Path) -> None:
    """Run the ingest stage, which probes every clip."""
    source = Source(name="made", records="records.json")
    params = IngestParams(root=str(folder / "source"), sources=(source,), max_rejected=0)
    run_ingest(params, *(folder / name for name in ("samples.parquet", "quarantine.parquet", "media", "ingest.json")))


def write_frames(folder: Path, count: int) -> None:
    """Fill the frame store with a row for each sample."""
    samples = iterate_samples(folder / "samples.parquet")

    def rows() -> Iterator[FrameRow]:
        for sample, hash_T in zip(samples, clips(count).values(), strict=True):
            yield {
                "key": FRAMES.spec.key(sample.media_sha256, None, None),
                "pictures": [b""] * len(hash_T),
                "indices": list(range(len(hash_T))),
                "pts": [frame / 2 for frame in range(len(hash_T))],
                "source_fps": 25.0,
                "keyframes": 4,
                "phash": hash_T.tolist(),
                "brightness": 90.0,
                "motion": 3.0,
            }

    ShardStore(folder / "store", SCHEMA).append(rows())


def frames(folder: Path) -> None:
    """Run the frames stage, which has nothing to decode."""
    names = ("samples.parquet", "store", "keys.parquet", "clips.parquet", "frames-rejects.parquet", "frames.json")
    run_frames(FRAMES, *(folder / name for name in names))


def write_answers(folder: Path, count: int) -> None:
    """A good answer for each sample, and a benchmark of two samples."""
    answers = (
        {
            "sample_id": f"made-{number}",
            "request_key": str(number),
            "status": "ok",
            "detail": "",
            "text": f"<think>The clip has the number {number}. {ANSWER}</think>\n<answer>B</answer>",
            "prompt_tokens": 700,
            "completion_tokens": 40,
        }
        for number in range(count)
    )
    write_table(folder / "answers.parquet", answers, ANNOTATION_SCHEMA)
    held_out = (
        sample.model_copy(update={"split": "test"})
        for sample, _ in zip(iterate_samples(folder / "samples.parquet"), range(2), strict=False)
    )
    write_samples(folder / "benchmark.parquet", held_out)


def judge(folder: Path) -> None:
    """Run the filter stage with all rules."""
    names = ("samples", "answers", "sft", "rl", "rejects")
    run_filter(
        FilterParams(rules=RULES, held_out=str(folder / "benchmark.parquet")),
        *(folder / f"{name}.parquet" for name in names),
        metrics=folder / "filter.json",
        frame_keys=folder / "keys.parquet",
        clips=folder / "clips.parquet",
    )


def measured(work: Callable[[Path], None], folder: Path) -> Figures:
    """Run a stage in a fresh process."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    peak = 0
    while process.is_alive():
        peak = max(peak, _resident_bytes())
        process.join(timeout=0.2)
    assert process.exitcode == 0
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu, 1),
        "peak_mb": round(peak / 2**20),
    }


def _cpu_seconds() -> float:
    """CPU seconds of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident_bytes() -> int:
    """Resident memory of all processes below this one."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def curate(folder: Path, count: int) -> dict[str, Figures]:
    """The figures of each stage, whose written counts must be right."""
    write_source(folder / "source", count)
    figures = {"ingest": measured(ingest, folder)}
    assert read_json(folder / "ingest.json")["kept"] == count
    write_frames(folder, count)
    figures["frames"] = measured(frames, folder)
    copies = read_json(folder / "frames.json")["near_duplicates"]
    assert 0.8 < copies / (count // 10) <= 1  # the copy of a copy may differ too much from the first
    write_answers(folder, count)
    figures["filter"] = measured(judge, folder)
    filtered = read_json(folder / "filter.json")["sft"]
    assert filtered["in"] == count
    log.info("%d clips: near duplicates %d, filter %s", count, copies, filtered["dropped"])
    return figures


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("clips", nargs="*", type=int, default=[100_000, 1_000_000])
    counts: list[int] = arguments.parse_args().clips
    result: dict[int, dict[str, Figures]] = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            result[count] = curate(Path(place), count)
        for stage, found in result[count].items():
            log.info("%9d clips, %-6s: %s", count, stage, found)
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
