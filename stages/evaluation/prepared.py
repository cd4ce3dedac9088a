"""A benchmark as its stage prepared it: read, or prepared now."""

import subprocess
import sys
from dataclasses import asdict, dataclass
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

    `drawn` is None for the whole benchmark. `max_frames` is the most frames per clip, None where the folder was
    prepared before it said so.
    """

    folder: Path
    samples: list[Sample]
    quarantine: list[Reject]
    reader: FrameReader
    drawn: Drawn | None
    max_frames: int | None

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
    samples, drawn, spec = data / "samples.parquet", data / "drawn.json", data / "frames.json"
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
        read_json(spec)["max_frames"] if spec.exists() else None,
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
    seed: int | None = None

    @property
    def source(self) -> Path:
        """The root, or `data/<benchmark>` where it is there, or the hub."""
        usual = Path("data") / self.benchmark
        return self.root or (usual if usual.exists() else Path("hub"))

    @property
    def folder(self) -> str:
        """A name that says what is inside."""
        sample = "" if self.limit is None else f"-limit{self.limit}-seed{self.seed or 0}"
        return f"{self.benchmark}-{self.most_frames}{sample}"

    @property
    def most_frames(self) -> int:
        """Most frames per clip."""
        return USUAL_FRAMES if self.frames is None else self.frames


def questions(wanted: Wanted, params_file: Path, home: Path) -> Prepared:
    """The prepared questions: those in `wanted.data`, or new ones in `home`.

    UserError when they are not there, or when a prepared folder does not follow a flag.
    """
    if wanted.data is None:
        return read_prepared(wanted.benchmark, _prepare(wanted, params_file, home))
    for flag, value in (("--root", wanted.root), ("--limit", wanted.limit), ("--seed", wanted.seed)):
        if value is not None:
            raise UserError(
                f"{flag} cannot change {wanted.data}, which is prepared already; leave out {flag} or --data"
            )
    prepared = read_prepared(wanted.benchmark, wanted.data)
    if wanted.frames not in (None, prepared.max_frames):
        made = f"at most {prepared.max_frames}" if prepared.max_frames else "an unknown number of"
        raise UserError(
            f"--frames is {wanted.frames}, but the clips in {wanted.data} were prepared with {made} frames; leave out "
            "--frames to use them as they are, or --data to prepare others"
        )
    return prepared


def _prepare(wanted: Wanted, params_file: Path, home: Path) -> Path:
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
        "--frames": wanted.most_frames,
        "--limit": wanted.limit,
        "--seed": wanted.seed,
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
    if subprocess.run([sys.executable, "-m", "stages.benchmark", *words], check=False).returncode:
        raise UserError(f"the questions of {wanted.benchmark} are not ready; the line above says why")
    return out
