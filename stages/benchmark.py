"""One benchmark's records and media → its samples, quarantine and frames."""

import logging
from collections import Counter
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
    """What a benchmark's frames look like; see FrameSpec."""

    max_frames: int = Field(default=16, ge=1, le=1024, description="the frame budget, where --frames does not say")


def run(params: BenchmarkParams, name: str, root: Path, out: Path, metrics: Path, frames: int | None = None) -> None:
    """Read the benchmark `name` under `root` into `out`: samples.parquet, quarantine.parquet, frames.parquet and the store frames/.

    `root` is a folder, the name of a dataset on the hub, or a file with that name; `frames` the most frames per clip. A question that
    cannot be asked is in the quarantine with its reason, so that kept + quarantined is the whole benchmark.
    """
    if frames is not None:
        if "max_frames" in params.model_fields_set:
            raise UserError("--frames and max_frames both set the frame budget; take max_frames out of the parameters")
        if not 1 <= frames <= 1024:
            raise UserError(f"--frames is {frames}; it must be from 1 to 1024")
        params = params.model_copy(update={"max_frames": frames})
    rules, folder = get_benchmark(name), benchmark_folder(root)
    (out / "samples.parquet").unlink(
        missing_ok=True
    )  # written last: where a refused benchmark has none, none is evaluated
    with unchanged(folder), MediaCheck(params.limits, "benchmark") as check:
        checked = list(check(rules.read(folder)))
    known = [sample for sample in checked if isinstance(sample, Sample)]
    undecodable = extract(known, params, out / "frames", out / "frames.parquet", stage="benchmark")
    rejected = [reject for reject in checked if isinstance(reject, Reject)] + undecodable
    lost = {reject.sample_id for reject in undecodable}
    kept = [sample for sample in known if sample.sample_id not in lost]
    if rules.finish:
        reader = FrameReader(out / "frames", out / "frames.parquet")
        kept = [rules.finish(sample, reader.load(sample.sample_id).pts_T, folder) for sample in kept]
    write_rejects(out / "quarantine.parquet", rejected)

    reasons = dict(sorted(Counter(reject.reason for reject in rejected).items()))
    categories = dict(sorted(Counter(sample.category for sample in kept).items()))
    write_json(metrics, {"kept": len(kept), "quarantined": len(rejected), "reasons": reasons, "categories": categories})
    for reject in rejected[:20]:
        log.warning("%s: %s: %s", reject.sample_id, reject.reason, reject.detail)
    log.info("%s: %d questions kept, %d quarantined → %s", name, len(kept), len(rejected), out / "quarantine.parquet")
    if len(rejected) > params.max_rejected * len(checked) or not kept:
        raise UserError(
            f"{len(rejected)} of {len(checked)} questions of {name} are unusable, more than benchmark.max_rejected = "
            f"{params.max_rejected:g}; the reasons are in {out / 'quarantine.parquet'}; mend the media or raise the limit"
        )
    write_samples(out / "samples.parquet", kept)


if __name__ == "__main__":
    command(run, item="name")
