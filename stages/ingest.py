"""Sources → samples.parquet and a quarantine table.

Every record and every media file is checked, one at a time, in constant memory.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from stages.data.object_table import record_objects
from stages.data.sample import REJECT_SCHEMA, SAMPLE_SCHEMA, Reject, Sample, limit_rejects
from stages.data.source_folder import unchanged
from stages.data.sources import Source, read_source
from stages.run.addresses import MARK
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import table_writer, write_json
from stages.run.params import Params
from stages.video.check import MediaCheck
from stages.video.workers import Limits

log = logging.getLogger(__name__)

LOGGED = 20  # rejects


class IngestParams(Params):
    root: str = Field(description="path of the folder that holds all local sources; DVC tracks it")
    sources: tuple[Source, ...] = Field(min_length=1, description="the sources, read in this order")
    max_rejected: float = Field(
        ge=0, le=1, description="largest share of all records (0 to 1) that may be quarantined before the stage stops"
    )
    workers: int = Field(default=0, ge=0, description="processes that probe media; 0 for one per core")
    timeout_s: float = Field(default=60, gt=0, description="seconds that probing one media file may take")
    memory_mb: int = Field(default=2048, ge=128, description="megabytes of memory per probing process")

    @model_validator(mode="after")
    def _check_root_and_names(self) -> Self:
        if MARK in self.root:
            raise ValueError("root is a folder of this machine; an address goes to a source's records, media or folder")
        names = Counter(source.name for source in self.sources)
        if repeated := [name for name, count in names.items() if count > 1]:
            raise ValueError(
                f"several sources are called {repeated[0]}; give each its own name, with which its sample ids begin"
            )
        return self


def run(params: IngestParams, samples: Path, quarantine: Path, media: Path, metrics: Path) -> None:
    """Write the usable samples, the quarantine, and the counts.

    The folder `media` gets the media that a source holds as bytes, in files named by their hash, and the table
    objects.parquet of media on servers. Other media stays where it is.
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
                if not source.enabled:
                    continue
                for outcome in check(read_source(source, Path(params.root), media, seen)):
                    counts.add(source.name, outcome)
                    write = keep if isinstance(outcome, Sample) else refuse
                    write(outcome.model_dump())
            record_objects(media / "objects.parquet", check.objects)
        write_json(metrics, counts.summary(params))
        if not counts.kept + counts.quarantined:
            raise UserError(
                "the sources have no records, or none of them is enabled; correct ingest.sources in params.yaml"
            )
        log.info("%d samples kept, %d quarantined → %s", counts.kept, counts.quarantined, quarantine)
        limit_rejects(
            counts.quarantined, counts.kept, params.max_rejected, "ingest.max_rejected", "records", quarantine
        )


@dataclass
class Counts:
    """Counts of the samples kept and the records quarantined.

    composition: samples by source, data type and problem type. reasons: quarantined records by reason. by_source: both
    counts by the source's name.
    """

    composition: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, source: str, outcome: Sample | Reject) -> None:
        """Count one record; the first rejects are also logged."""
        kept = isinstance(outcome, Sample)
        self.by_source.setdefault(source, Counter())["kept" if kept else "quarantined"] += 1
        if kept:
            self.composition[outcome.source, outcome.data_type, outcome.problem_type] += 1
            return
        self.reasons[outcome.reason] += 1
        if self.quarantined <= LOGGED:
            log.warning("%s: %s: %s", outcome.sample_id, outcome.reason, outcome.detail)

    @property
    def kept(self) -> int:
        """All samples kept."""
        return self.composition.total()

    @property
    def quarantined(self) -> int:
        """All records quarantined."""
        return self.reasons.total()

    def summary(self, params: IngestParams) -> dict[str, object]:
        """The counts for the metrics file."""
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
