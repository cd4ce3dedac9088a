"""Writes the embedded source: small clips and images, as Video-R1 records."""

import json
import logging
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from stages.embedded.world.questions import CUES, FAMILIES, Question, make
from stages.embedded.world.scene import FRAMES, SIZE, draw
from stages.run.command import command
from stages.run.files import write_atomic
from stages.run.params import LARGEST_SEED, Params
from stages.run.progress import progress_bar

log = logging.getLogger(__name__)

FPS: Final = 8
SPLITS: Final = ("sft", "rl", "benchmark")
COMPENSATION: Final = 2.5
"""The careless teacher mostly answers some families wrong, and filtering drops those answers.

The SFT split has this many times more questions of these families (CUES), to make up for it.
"""


class ShapesParams(Params):
    """How many records each split has, and the seed of all."""

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="of scenes, questions and answers")
    sft: int = Field(
        default=9000, ge=1, description="records to annotate; the default teacher and filter leave about 5100"
    )
    rl: int = Field(default=1600, ge=1, description="records for T-GRPO")
    benchmark: int = Field(default=400, ge=1, description="records of the benchmark, balanced over families")
    shortcut: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="probability that a training clip's backdrop agrees with the answer; null plants nothing",
    )


def run(params: ShapesParams, out: Path) -> None:
    """Write out/{sft,rl,benchmark}.json, out/video/*.mp4 and out/image/*.png; equal parameters give equal bytes."""
    for folder in ("video", "image"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for split, count in zip(SPLITS, (params.sft, params.rl, params.benchmark), strict=True):
        named = {f"{split}-{number:05d}": question for number, question in enumerate(questions(params, split, count))}
        shown = progress_bar(named.items(), unit=f"{split} clip")
        write_clips(out, ((name, draw(question.scene)) for name, question in shown if question.data_type == "video"))
        for name, question in named.items():
            if question.data_type == "image":
                Image.fromarray(draw(question.scene)[0]).save(out / "image" / f"{name}.png")
        records = [record(name, question) for name, question in named.items()]
        write_atomic(out / f"{split}.json", json.dumps(records, indent=1) + "\n")
        log.info("%s: %d records", split, count)


def questions(params: ShapesParams, split: str, count: int) -> Iterator[Question]:
    """The questions of a split.

    A longer split starts with the same ones, and the other splits do not matter.
    """
    rng = np.random.default_rng([params.seed, SPLITS.index(split)])
    if split == "benchmark":
        return (make(family, rng) for family in islice(cycle(FAMILIES), count))
    more = dict.fromkeys(CUES, COMPENSATION) if split == "sft" else {}
    weights = np.array([family.weight * more.get(name, 1) for name, family in FAMILIES.items()])
    names, shares = list(FAMILIES), weights / weights.sum()
    return (make(names[rng.choice(len(names), p=shares)], rng, params.shortcut) for _ in range(count))


def record(name: str, question: Question) -> dict[str, str | list[str]]:
    """A question in Video-R1's own fields (paper.md §4)."""
    suffix = "mp4" if question.data_type == "video" else "png"
    return {
        "problem_id": name,
        "problem": question.problem,
        "data_type": question.data_type,
        "problem_type": question.problem_type,
        "options": list(question.options),
        "solution": f"<answer>{question.answer}</answer>",
        "path": f"./{question.data_type}/{name}.{suffix}",
        "data_source": "shapes",
        "original_question_type": question.family,
    }


def write_clips(out: Path, clips: Iterable[tuple[str, NDArray[np.uint8]]]) -> None:
    """Write named clips as out/video/NAME.mp4.

    One ffmpeg process encodes all clips and starts a new file after every 16 frames.
    Each clip is frames_THWC uint8 [16, 64, 64, 3]. RuntimeError with ffmpeg's message when ffmpeg fails.
    """
    folder = out.with_name(f".{out.name}-rendering")  # beside the output, so that a killed run leaves no half output
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with _ffmpeg(folder) as process:
            names = _feed(process, clips)
            _, stderr = process.communicate()
        if process.returncode:
            raise RuntimeError(f"ffmpeg: {stderr.decode(errors='replace').strip()}")
        for number, name in enumerate(names):
            (folder / f"{number:05d}.mp4").replace(out / "video" / f"{name}.mp4")
    finally:
        shutil.rmtree(folder)


def _feed(process: "subprocess.Popen[bytes]", clips: Iterable[tuple[str, NDArray[np.uint8]]]) -> list[str]:
    """Pipe the clips' pixels to ffmpeg.

    Returns the names of the clips that ffmpeg took: all of them, unless ffmpeg failed.
    """
    assert process.stdin is not None
    names: list[str] = []
    try:
        for name, frames_THWC in clips:
            process.stdin.write(frames_THWC.tobytes())
            names.append(name)
        process.stdin.flush()
    except BrokenPipeError:
        log.debug("ffmpeg ended early; its exit code and message follow")
    return names


def _ffmpeg(folder: Path) -> "subprocess.Popen[bytes]":
    """Start ffmpeg for H.264 in 4:2:0 without B-frames.

    Each clip starts with a keyframe.
    One thread and bit-exact flags give equal bytes.
    """
    pixels = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{SIZE}x{SIZE}", framerate=FPS)
    output = pixels.output(
        str(folder / "%05d.mp4"),
        vcodec="libx264",
        preset="ultrafast",
        crf=12,
        bf=0,
        g=FRAMES,
        sc_threshold=0,
        pix_fmt="yuv420p",
        threads=1,
        f="segment",
        segment_format="mp4",
        segment_time=FRAMES / FPS,
        reset_timestamps=1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact", "map_metadata": -1},
    )
    args = output.global_args("-loglevel", "error").compile(cmd=imageio_ffmpeg.get_ffmpeg_exe())
    # ffmpeg has a session of its own: Ctrl-C reaches this process alone, and ffmpeg ends when its input ends.
    return subprocess.Popen(args, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


if __name__ == "__main__":
    command(run)
