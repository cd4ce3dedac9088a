"""Questions per second of the evaluation's engine against the reference's way.

    python -m speed.evaluation [QUESTIONS] [MODEL_FOLDER]

Both answer with one model in one process, and the answers are equal. The reference's way is a loop over the questions
that decodes the video, encodes its frames and prefills the prompt for each question alone. The project decodes each
video once into the frame store (`decode_s`, in a process of its own) and batches prompts by length. Decoding is greedy,
frames come in order and shuffled, one thread computes. Without a model folder the embedded model answers with random
weights, which never ends an answer early. The last line of the output is JSON.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from speed.arguments import parser
from stages.asking.collect import plan
from stages.asking.engines import Showing, TransformersEngine
from stages.benchmark import BenchmarkParams
from stages.data.order import permutation
from stages.data.outputs import Output
from stages.data.sample import read_samples
from stages.embedded.language import corpus
from stages.embedded.tiny import write_tiny
from stages.generation.generate import generate
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.shapes import ShapesParams
from stages.shapes import run as render
from stages.video.extract import Clip, take_frames
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

T = TypeVar("T")

FRAMES = BenchmarkParams(
    policy="uniform",
    max_frames=8,
    min_pixels=2304,
    max_pixels=2304,
    factor=16,
    kernel="pillow",
    jpeg_quality=None,
    max_rejected=0.0,
)
SAMPLING = Sampling(max_new_tokens=72, temperature=0.0)


def reference(folder: Path, showings: Sequence[Showing]) -> list[str]:
    """The answers, one question at a time, each from its video file."""
    builder, model, texts = PromptBuilder(folder), load_model(folder), []
    for showing in showings:
        sample = showing.sample
        path = Path(sample.media_path)
        frames = take_frames(Clip("", path, sample.media_sha256, sample.data_type, None, None), path, FRAMES)
        order_T = permutation(len(frames.frames_THWC), showing.order, sample.sample_id, 0)
        answers = generate(model, builder, [builder(sample, frames, order_T)], [1], SAMPLING, [0])
        texts.append(answers[0][0].text)
    return texts


def project(folder: Path, showings: Sequence[Showing], reader: FrameReader) -> list[str]:
    """The answers of the evaluation's engine, from stored frames."""
    texts: dict[str, str] = {}

    def keep(outputs: Sequence[Output]) -> None:
        texts.update({output["key"]: output["text"] for output in outputs})

    TransformersEngine(folder, reader, SAMPLING, seed=0, batch_tokens=16384, precision="fp32").answer(
        showings, (), keep
    )
    return [texts[showing.key] for showing in showings]


def prepare(place: Path, root: Path, out: Path) -> None:
    """Run the benchmark stage in a process whose workers import no torch."""
    settings = FRAMES.model_dump(exclude={"max_frames"})
    (place / "params.yaml").write_text(json.dumps({"benchmark": {"defaults": settings}}))
    flags = {
        "--name": "shapes",
        "--root": root,
        "--out": out,
        "--metrics": place / "metrics.json",
        "--frames": FRAMES.max_frames,
    }
    flags["--params"] = place / "params.yaml"
    subprocess.run(
        [sys.executable, "-m", "stages.benchmark", *(str(word) for flag in flags.items() for word in flag)], check=True
    )


def timed(call: Callable[[], T]) -> tuple[T, float, float]:
    """A call's result, its seconds, and its CPU seconds here."""
    start, cpu = time.perf_counter(), time.process_time()
    return call(), time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    torch.set_num_threads(1)
    arguments = parser(__doc__)
    arguments.add_argument("questions", nargs="?", type=int, default=100)
    arguments.add_argument("model_folder", nargs="?", type=Path)
    chosen = arguments.parse_args()
    count: int = chosen.questions
    with tempfile.TemporaryDirectory() as place:
        root, out = Path(place, "shapes"), Path(place, "out")
        folder = chosen.model_folder or Path(place, "model")
        if not chosen.model_folder:
            write_tiny(folder, corpus(np.random.default_rng(0), 2000), seed=0, prompt="plain")
        render(ShapesParams(sft=1, rl=1, benchmark=count), root)
        _, decode_s, _ = timed(partial(prepare, Path(place), root, out))
        reader, samples = FrameReader(out / "frames", out / "frames.parquet"), read_samples(out / "samples.parquet")
        showings = plan(samples, reader.sample_ids, ("ordered", "shuffled"))
        project(folder, showings[:4], reader)  # the first batch pays for start-up
        ours, ours_s, ours_cpu = timed(partial(project, folder, showings, reader))
        theirs, theirs_s, theirs_cpu = timed(partial(reference, folder, showings))
    assert ours == theirs, f"{sum(a != b for a, b in zip(ours, theirs, strict=True))} of {len(ours)} answers differ"
    log.info(
        json.dumps(
            {
                "questions": len(showings),
                "project_per_s": round(len(showings) / ours_s, 1),
                "reference_per_s": round(len(showings) / theirs_s, 1),
                "ratio": round(theirs_s / ours_s, 2),
                "ratio_cpu": round(theirs_cpu / ours_cpu, 2),
                "decode_s": round(decode_s, 1),
                "ratio_with_decoding": round(theirs_s / (ours_s + decode_s), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
