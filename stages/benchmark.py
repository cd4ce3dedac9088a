"""One benchmark's records and media → its samples, quarantine and frames."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from stages.data.sample import Reject, Sample, limit_rejects, write_rejects, write_samples
from stages.data.source_folder import unchanged
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import Benchmark
from stages.evaluation.download import Listed, dataset_names, fetch
from stages.evaluation.statistics import stratified_draw
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import write_json
from stages.video.check import MediaCheck
from stages.video.extract import ExtractParams, extract
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

HUB = "hub"  # as the root: the benchmark's own datasets on the hub
DRAWN = "drawn.json"  # beside the samples: of how many questions they were drawn
FRAMES = "frames.json"  # the frame spec


class BenchmarkParams(ExtractParams):
    """The frames of a benchmark; see FrameSpec."""

    max_frames: int = Field(default=16, ge=1, le=1024, description="most frames per clip, unless --frames says it")


def run(
    params: BenchmarkParams,
    name: str,
    root: Path,
    out: Path,
    metrics: Path,
    frames: int | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> None:
    """Read the benchmark `name` in `root` into the folder `out`.

    `out` gets samples.parquet, quarantine.parquet, frames.parquet, the store frames/ and frames.json, which says how
    frames were taken. `root` is a folder, the name of a dataset on the hub, a file with such names, or `hub` for the
    benchmark's own datasets there. `frames` is the most frames per clip. A question that cannot be asked is in the
    quarantine with its reason, so kept and quarantined questions together are the whole benchmark. With `limit` they
    are a sample of about so many questions, of each kind its share, drawn with `seed`; drawn.json says of how many.
    UserError when too many are in the quarantine.
    """
    params = _with_budget(params, frames)
    benchmark = get_benchmark(name)
    folder = _folder(root, name, benchmark, limit, seed)
    # samples.parquet is written last, so that a refused benchmark has none and cannot be evaluated.
    (out / "samples.parquet").unlink(missing_ok=True)
    with unchanged(folder), MediaCheck(params.limits, "benchmark") as check:
        drafts = list(benchmark.read(folder))
        asked = drafts if limit is None else _drawn(drafts, benchmark, limit, seed)
        checked = list(check(asked))
    readable = [sample for sample in checked if isinstance(sample, Sample)]
    undecodable = extract(readable, params, out / "frames", out / "frames.parquet", stage="benchmark")
    rejected = [reject for reject in checked if isinstance(reject, Reject)] + undecodable
    lost = {reject.sample_id for reject in undecodable}
    kept = [sample for sample in readable if sample.sample_id not in lost]
    if benchmark.finish:
        reader = FrameReader(out / "frames", out / "frames.parquet")
        kept = [benchmark.finish(sample, reader.load(sample.sample_id).pts_T, folder) for sample in kept]
    write_rejects(out / "quarantine.parquet", rejected)
    write_json(out / FRAMES, params.spec.model_dump(mode="json"))
    (out / DRAWN).unlink(missing_ok=True)
    if limit is not None:
        write_json(out / DRAWN, {"questions": len(drafts), "drawn": len(asked), "seed": seed})
    write_json(metrics, _counts(kept, rejected))
    for reject in rejected[:20]:
        log.warning("%s: %s: %s", reject.sample_id, reject.reason, reject.detail)
    log.info("%s: %d questions kept, %d quarantined → %s", name, len(kept), len(rejected), out / "quarantine.parquet")
    limit_rejects(
        len(rejected),
        len(kept),
        params.max_rejected,
        "benchmark.max_rejected",
        f"questions of {name}",
        out / "quarantine.parquet",
    )
    write_samples(out / "samples.parquet", kept)


def _folder(root: Path, name: str, benchmark: Benchmark, limit: int | None, seed: int) -> Path:
    """The folder with the benchmark's files, fetched from the hub where needed.

    With `limit`, only the media of the drawn questions are fetched, unless media are in archives. UserError where the
    hub has no dataset of the benchmark.
    """
    names = dataset_names(root) if str(root) != HUB or root.exists() else _own_datasets(name, benchmark)
    if not names:
        return root
    if limit is None:
        return fetch(*names)
    listed = Listed(*names)
    if not listed.fetch_records():
        log.info("%s: its media lie in archives or on object storage, so --limit fetches all of them", name)
        return fetch(*names)
    drawn = _drawn(list(benchmark.read(listed.folder)), benchmark, limit, seed)
    listed.fetch(Path(sample.media_path) for sample in drawn if isinstance(sample, Sample))
    return listed.folder


def _own_datasets(name: str, benchmark: Benchmark) -> Sequence[str]:
    if benchmark.about is None or not benchmark.about.hub:
        raise UserError(f"{name} has no dataset on the hub; name the folder with its files: --root FOLDER")
    return benchmark.about.hub


def _drawn(drafts: Sequence[Sample | Reject], benchmark: Benchmark, limit: int, seed: int) -> list[Sample | Reject]:
    """A sample of about `limit` questions.

    Each category and answer type has its share. Questions that are scored together stay together. UserError for a limit
    below 1.
    """
    if limit < 1:
        raise UserError(f"--limit is {limit}; it must be at least 1")
    units: dict[str, list[Sample | Reject]] = defaultdict(list)
    for draft in drafts:
        units[benchmark.together(draft.sample_id)].append(draft)
    kinds = [
        (first.category, first.problem_type) if isinstance(first, Sample) else ("", "") for first, *_ in units.values()
    ]
    count = max(1, round(limit * len(units) / max(1, len(drafts))))
    groups = list(units.values())
    return [draft for index in stratified_draw(kinds, count, seed) for draft in groups[index]]


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
