"""Sources → samples.parquet and a quarantine table: every record and every media file checked, one by one."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from stages.data.command import command
from stages.data.errors import UserError
from stages.data.files import write_json
from stages.data.params import Params
from stages.data.sample import Reject, Sample, write_rejects, write_samples
from stages.data.sources import Source, read_source
from stages.video.check import check_media
from stages.video.workers import Limits

log = logging.getLogger(__name__)


class IngestParams(Params):
    root: str = Field(description="folder that all sources live in; DVC tracks it")
    sources: tuple[Source, ...] = Field(min_length=1)
    max_rejected: float = Field(ge=0, le=1, description="stop when a larger share of all records is quarantined")
    workers: int = Field(default=0, ge=0, description="probing processes, 0 = one per core")
    timeout_s: float = Field(default=60, gt=0, description="per media file")
    memory_mb: int = Field(default=2048, ge=128, description="per probing process")


def run(params: IngestParams, samples: Path, quarantine: Path, metrics: Path) -> None:
    """Write the usable samples, the quarantine table and the composition counts."""
    drafts = [draft for source in params.sources for draft in read_source(source, Path(params.root))]
    checked = check_media(drafts, Limits(params.workers, params.timeout_s, params.memory_mb), "ingest")
    kept = [sample for sample in checked if isinstance(sample, Sample)]
    rejected = [reject for reject in checked if isinstance(reject, Reject)]

    write_rejects(quarantine, rejected)
    write_json(metrics, summary(kept, rejected))
    for reject in rejected[:20]:
        log.warning("%s: %s: %s", reject.sample_id, reject.reason, reject.detail)
    log.info("%d samples kept, %d quarantined → %s", len(kept), len(rejected), quarantine)
    if len(rejected) > params.max_rejected * len(checked) or not kept:
        raise UserError(
            f"{len(rejected)} of {len(checked)} records are unusable, more than ingest.max_rejected = {params.max_rejected:g}; "
            f"the reasons are in {quarantine}; mend the source or raise the limit"
        )
    write_samples(samples, kept)


def summary(kept: Sequence[Sample], rejected: Sequence[Reject]) -> dict[str, object]:
    """Counts for metrics: in all, by reason, and the composition source / data type / problem type."""
    composition = Counter((sample.source, sample.data_type, sample.problem_type) for sample in kept)
    return {
        "kept": len(kept),
        "quarantined": len(rejected),
        "reasons": dict(sorted(Counter(reject.reason for reject in rejected).items())),
        "composition": {" / ".join(key): count for key, count in sorted(composition.items())},
    }


if __name__ == "__main__":
    command(run)
