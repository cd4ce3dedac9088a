"""Sources → samples.parquet and a quarantine table: every record and every media file checked, one by one, in constant memory."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from stages.data.sample import REJECT_SCHEMA, SAMPLE_SCHEMA, Reject, Sample
from stages.data.sources import Source, read_source, unchanged
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import table_writer, write_json
from stages.run.params import Params
from stages.video.check import MediaCheck
from stages.video.workers import Limits

log = logging.getLogger(__name__)

SHOWN = 20  # rejects that are named in the log


class IngestParams(Params):
    root: str = Field(description="folder that all sources live in; DVC tracks it")
    sources: tuple[Source, ...] = Field(min_length=1)
    max_rejected: float = Field(ge=0, le=1, description="stop when a larger share of all records is quarantined")
    workers: int = Field(default=0, ge=0, description="probing processes, 0 = one per core")
    timeout_s: float = Field(default=60, gt=0, description="per media file")
    memory_mb: int = Field(default=2048, ge=128, description="per probing process")

    @model_validator(mode="after")
    def _have_names_of_their_own(self) -> Self:
        names = Counter(source.name for source in self.sources)
        if repeated := [name for name, count in names.items() if count > 1]:
            raise ValueError(
                f"several sources are called {repeated[0]}; their names begin the sample ids and must differ"
            )
        return self


def run(params: IngestParams, samples: Path, quarantine: Path, media: Path, metrics: Path) -> None:
    """Write the usable samples, the quarantine, and the counts.

    The folder `media` gets the media that a source holds as bytes, named by its hash; other media stays where it is.
    """
    counts = Counts()
    media.mkdir(parents=True, exist_ok=True)
    with unchanged(Path(params.root)), table_writer(samples, SAMPLE_SCHEMA) as keep:
        with (
            table_writer(quarantine, REJECT_SCHEMA) as refuse,
            MediaCheck(Limits(params.workers, params.timeout_s, params.memory_mb), "ingest") as check,
        ):
            seen: set[str] = set()
            for source in params.sources:
                for outcome in check(read_source(source, Path(params.root), media, seen)) if source.enabled else ():
                    counts.add(source.name, outcome)
                    (keep if isinstance(outcome, Sample) else refuse)(outcome.model_dump())
        write_json(metrics, counts.summary(params))
        if not counts.kept + counts.quarantined:
            raise UserError(
                "the sources have no records, or none of them is enabled; mend ingest.sources in params.yaml"
            )
        log.info("%d samples kept, %d quarantined → %s", counts.kept, counts.quarantined, quarantine)
        if counts.quarantined > params.max_rejected * (counts.kept + counts.quarantined) or not counts.kept:
            raise UserError(
                f"{counts.quarantined} of {counts.kept + counts.quarantined} records are unusable, "
                f"more than ingest.max_rejected = {params.max_rejected:g}; "
                f"the reasons are in {quarantine}; mend the source or raise the limit"
            )


@dataclass
class Counts:
    """What was kept, by source, data type and problem type, and what was not, by reason."""

    composition: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, source: str, outcome: Sample | Reject) -> None:
        """Count one record; the first rejects are also named in the log."""
        kept = isinstance(outcome, Sample)
        self.by_source.setdefault(source, Counter())["kept" if kept else "quarantined"] += 1
        if kept:
            self.composition[outcome.source, outcome.data_type, outcome.problem_type] += 1
            return
        self.reasons[outcome.reason] += 1
        if self.quarantined <= SHOWN:
            log.warning("%s: %s: %s", outcome.sample_id, outcome.reason, outcome.detail)

    @property
    def kept(self) -> int:
        return self.composition.total()

    @property
    def quarantined(self) -> int:
        return self.reasons.total()

    def summary(self, params: IngestParams) -> dict[str, Any]:
        """For metrics: in all, by reason, by source, and the composition source / data type / problem type."""
        sources = {}
        for source in params.sources:
            counts = self.by_source.get(source.name, Counter())
            sources[source.name] = {
                "kept": counts["kept"],
                "quarantined": counts["quarantined"],
                "licence": source.licence,
            }
        return {
            "kept": self.kept,
            "quarantined": self.quarantined,
            "reasons": dict(sorted(self.reasons.items())),
            "sources": sources,
            "composition": {" / ".join(key): count for key, count in sorted(self.composition.items())},
        }


if __name__ == "__main__":
    command(run)
