"""Time and memory of the ingest stage over growing numbers of records.

    python -m speed.ingestion [RECORDS...]

The records stand in a JSON array: by default 10,000, 100,000 and 1,000,000, each size in a process of its own. All ask
about one tiny image, so that the time is that of the records and not of the media; every hundredth is unusable. The
last line is JSON: `linear` is the time per record at the largest size over that at the size before, `peer_mb` the
memory of `json.load` with its list of plain records.
"""

import json
import logging
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from speed.arguments import parser
from stages.data.sources import Source
from stages.ingest import IngestParams, run
from stages.run.files import read_json

log = logging.getLogger(__name__)

OPTIONS = ["A. It moves to the left", "B. It moves to the right", "C. It stands still", "D. It leaves the picture"]
QUESTION = (
    "Which of these descriptions fits what the red ball does "
    "between the moment it appears and the moment the hand takes it away?"
)


def write_records(path: Path, count: int) -> None:
    """An array of `count` records, written one by one."""
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            record = {
                "problem_id": number,
                "problem": QUESTION,
                "data_type": "image",
                "problem_type": "multiple choice",
                "options": OPTIONS,
                "solution": "<answer>E</answer>" if number % 100 == 0 else "<answer>B</answer>",
                "path": "./ball.png",
                "data_source": "made",
            }
            file.write(("[" if number == 0 else ",\n") + json.dumps(record))
        file.write("]\n")


def ingest(folder: Path, count: int) -> None:
    """Run the stage and check its counts."""
    params = IngestParams(
        root=str(folder / "source"), sources=(Source(name="made", records="records.json"),), max_rejected=0.5, workers=1
    )
    run(params, *(folder / name for name in ("samples.parquet", "quarantine.parquet", "media", "metrics.json")))
    metrics = read_json(folder / "metrics.json")
    assert (metrics["kept"], metrics["quarantined"]) == (count - (count + 99) // 100, (count + 99) // 100)


def load(folder: Path, count: int) -> None:
    """Load all records at once, as a comparison."""
    with open(folder / "source" / "records.json", encoding="utf-8") as file:
        assert len(json.load(file)) == count


def measured(work: Callable[[Path, int], None], folder: Path, count: int) -> tuple[float, float]:
    """CPU seconds and peak megabytes of `work` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, work, folder, count).result()


def _measure(work: Callable[[Path, int], None], folder: Path, count: int) -> tuple[float, float]:
    start = time.process_time()
    work(folder, count)
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("records", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    counts: list[int] = arguments.parse_args().records
    result: dict[str, object] = {}
    per_record: list[float] = []
    log.info("%10s %8s %11s %9s %10s", "records", "CPU s", "µs/record", "peak MB", "list, MB")
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "source").mkdir()
            Image.new("RGB", (8, 8), "red").save(folder / "source" / "ball.png")
            write_records(folder / "source" / "records.json", count)
            seconds, peak = measured(ingest, folder, count)
            _, peer = measured(load, folder, count)
        per_record.append(seconds / count)
        log.info("%10d %8.1f %11.1f %9.0f %10.0f", count, seconds, 1e6 * seconds / count, peak, peer)
        result[str(count)] = {"cpu_s": round(seconds, 1), "peak_mb": round(peak), "peer_mb": round(peer)}
    result["linear"] = round(per_record[-1] / per_record[-2], 2) if len(counts) > 1 else None
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
