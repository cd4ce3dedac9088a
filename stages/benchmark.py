"""One benchmark's records and media → its samples, quarantine and frames."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from stages.data.sample import Reject, Sample, write_rejects, write_samples
from stages.data.source_folder import unchanged
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.download import benchmark_folder
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import write_json
from stages.video.check import MediaCheck
from stages.video.extract import ExtractParams, extract
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)


class BenchmarkParams(ExtractParams):
    """The frames of a benchmark; see FrameSpec."""

    max_frames: int = Field(default=16, ge=1, le=1024, description="most frames per clip, unless --frames says it")


def run(params: BenchmarkParams, name: str, root: Path, out: Path, metrics: Path, frames: int | None = None) -> None:
    """Read the benchmark `name` in `root` into the folder `out`.

    `out` gets samples.parquet, quarantine.parquet, frames.parquet and the store frames/. `root` is a folder, the name
    of a dataset on the hub, or a file with such names. `frames` is the most frames per clip. A question that cannot be
    asked is in the quarantine with its reason, so kept and quarantined questions together are the whole benchmark.
    UserError when too many are in the quarantine.
    """
    params = _with_budget(params, frames)
    benchmark, folder = get_benchmark(name), benchmark_folder(root)
    # samples.parquet is written last, so that a refused benchmark has none and cannot be evaluated.
    (out / "samples.parquet").unlink(missing_ok=True)
    with unchanged(folder), MediaCheck(params.limits, "benchmark") as check:
        checked = list(check(benchmark.read(folder)))
    readable = [sample for sample in checked if isinstance(sample, Sample)]
    undecodable = extract(readable, params, out / "frames", out / "frames.parquet", stage="benchmark")
    rejected = [reject for reject in checked if isinstance(reject, Reject)] + undecodable
    lost = {reject.sample_id for reject in undecodable}
    kept = [sample for sample in readable if sample.sample_id not in lost]
    if benchmark.finish:
        reader = FrameReader(out / "frames", out / "frames.parquet")
        kept = [benchmark.finish(sample, reader.load(sample.sample_id).pts_T, folder) for sample in kept]
    write_rejects(out / "quarantine.parquet", rejected)
    write_json(metrics, _counts(kept, rejected))
    for reject in rejected[:20]:
        log.warning("%s: %s: %s", reject.sample_id, reject.reason, reject.detail)
    log.info("%s: %d questions kept, %d quarantined → %s", name, len(kept), len(rejected), out / "quarantine.parquet")
    if len(rejected) > params.max_rejected * len(checked) or not kept:
        raise UserError(
            f"{len(rejected)} of {len(checked)} questions of {name} are unusable, more than benchmark.max_rejected = "
            f"{params.max_rejected:g}; the reasons are in {out / 'quarantine.parquet'}; "
            "fix the media or raise the limit"
        )
    write_samples(out / "samples.parquet", kept)


def _with_budget(params: BenchmarkParams, frames: int | None) -> BenchmarkParams:
    """The parameters with the command line's frame budget, if any."""
    if frames is None:
        return params
    if "max_frames" in params.model_fields_set:
        raise UserError("--frames and max_frames both set the frame budget; take max_frames out of the parameters")
    if not 1 <= frames <= 1024:
        raise UserError(f"--frames is {frames}; it must be from 1 to 1024")
    return params.model_copy(update={"max_frames": frames})


def _counts(kept: Sequence[Sample], rejected: Sequence[Reject]) -> dict[str, int | dict[str, int]]:
    return {
        "kept": len(kept),
        "quarantined": len(rejected),
        "reasons": dict(sorted(Counter(reject.reason for reject in rejected).items())),
        "categories": dict(sorted(Counter(sample.category for sample in kept).items())),
    }


if __name__ == "__main__":
    command(run, item="name")
