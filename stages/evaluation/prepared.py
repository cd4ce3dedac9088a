"""A benchmark as its stage prepared it: read, or prepared now."""

import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stages.data.sample import Reject, Sample, read_rejects, read_samples
from stages.run.errors import UserError
from stages.run.files import read_json
from stages.video.frame_store import FrameReader

USUAL_FRAMES = 16  # most frames of a clip, where no flag says it


@dataclass(frozen=True)
class Drawn:
    """A sample of a benchmark: `drawn` of its `questions`, with `seed`."""

    questions: int
    drawn: int
    seed: int

    def __str__(self) -> str:
        return f"a sample of {self.drawn:,} of {self.questions:,} questions, of each kind its share (seed {self.seed})"


@dataclass(frozen=True)
class Prepared:
    """A prepared benchmark.

    `drawn` is None for the whole benchmark.
    """

    folder: Path
    samples: list[Sample]
    quarantine: list[Reject]
    reader: FrameReader
    drawn: Drawn | None

    @property
    def files(self) -> list[Path]:
        """The files that decide the answers."""
        return [self.folder / "samples.parquet", self.folder / "frames.parquet"]

    @property
    def n_questions(self) -> int:
        """Its questions, those in the quarantine included."""
        return len(self.samples) + len(self.quarantine)

    @property
    def note(self) -> dict[str, dict[str, int]]:
        """For the metrics: how a sample was drawn, if it was."""
        return {"sample": asdict(self.drawn)} if self.drawn else {}


def read_prepared(benchmark: str, data: Path) -> Prepared:
    """The prepared benchmark in `data`; UserError when it is not there."""
    samples, drawn = data / "samples.parquet", data / "drawn.json"
    if not samples.exists():
        raise UserError(
            f"{data}: no prepared benchmark; first run "
            f"`python -m stages.benchmark --name {benchmark} --root … --out {data}`, or leave out --data"
        )
    asked = read_samples(samples)
    if others := sorted({sample.source for sample in asked if not benchmark.startswith(sample.source)}):
        raise UserError(
            f"{data} holds questions of {', '.join(others)}, not of {benchmark}, whose scoring does not fit them; "
            "name the benchmark that the folder holds"
        )
    return Prepared(
        data,
        asked,
        read_rejects(data / "quarantine.parquet"),
        FrameReader(data / "frames", data / "frames.parquet"),
        Drawn(**read_json(drawn)) if drawn.exists() else None,
    )


@dataclass(frozen=True)
class Wanted:
    """The questions of an evaluation: prepared in `data`, or to be prepared.

    The other fields are the flags of the benchmark stage.
    """

    benchmark: str = ""
    data: Path | None = None
    root: Path | None = None
    frames: int | None = None
    limit: int | None = None
    seed: int = 0

    @property
    def source(self) -> Path:
        """The root, or `data/<benchmark>` where it is there, or the hub."""
        usual = Path("data") / self.benchmark
        return self.root or (usual if usual.exists() else Path("hub"))

    @property
    def folder(self) -> str:
        """A name that says what is inside."""
        sample = "" if self.limit is None else f"-limit{self.limit}-seed{self.seed}"
        return f"{self.benchmark}-{self.frames}{sample}"

    def check(self) -> None:
        """UserError for a flag that a prepared folder cannot follow."""
        for flag, value in (("--root", self.root), ("--limit", self.limit), ("--seed", self.seed)):
            if self.data and value:
                raise UserError(
                    f"{flag} cannot change {self.data}, which is prepared already; leave out {flag} or --data"
                )


def prepare(wanted: Wanted, params_file: Path, home: Path) -> Path:
    """The folder of the prepared questions.

    Where `wanted` names none, the benchmark stage writes one in `home`. The stage runs in a process of its own, because
    it decodes video. Frames that are there are not decoded again. UserError when it fails; it has said why.
    """
    if wanted.data:
        return wanted.data
    wanted = replace(wanted, frames=wanted.frames or USUAL_FRAMES)
    out = home / wanted.folder
    flags = {
        "--params": params_file,
        "--name": wanted.benchmark,
        "--root": wanted.source,
        "--out": out,
        "--metrics": out.with_suffix(".json"),
        "--frames": wanted.frames,
        "--limit": wanted.limit,
        "--seed": wanted.seed,
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    if subprocess.run([sys.executable, "-m", "stages.benchmark", *words], check=False).returncode:
        raise UserError(f"the questions of {wanted.benchmark} are not ready; the line above says why")
    return out
