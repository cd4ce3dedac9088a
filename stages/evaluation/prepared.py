"""A benchmark as its stage prepared it: read, or prepared now."""

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.data.sample import Reject, Sample, read_rejects, read_samples
from stages.run.errors import UserError
from stages.run.files import read_json
from stages.video.frame_store import FrameReader


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
    """A prepared benchmark; `files` decide the answers.

    `drawn` is None for the whole benchmark.
    """

    samples: list[Sample]
    quarantine: list[Reject]
    reader: FrameReader
    files: list[Path]
    drawn: Drawn | None

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
    samples, frame_keys, drawn = data / "samples.parquet", data / "frames.parquet", data / "drawn.json"
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
        asked,
        read_rejects(data / "quarantine.parquet"),
        FrameReader(data / "frames", frame_keys),
        [samples, frame_keys],
        Drawn(**read_json(drawn)) if drawn.exists() else None,
    )


@dataclass(frozen=True)
class Wanted:
    """What to prepare: the flags of the benchmark stage."""

    benchmark: str
    root: Path | None
    frames: int
    limit: int | None
    seed: int

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


def prepare(wanted: Wanted, params_file: Path, home: Path) -> Path:
    """Run the benchmark stage; returns the folder that it wrote.

    The folder is in `home`. The stage runs in a process of its own, because it decodes video. Frames that are there are
    not decoded again. UserError when it fails; it has said why.
    """
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
