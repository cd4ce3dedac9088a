"""A clip of 256 frames, from its file to the trained model's answer."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.data.sample import TRAINING_SCHEMA, write_rejects, write_samples
from stages.frames import FramesParams
from stages.frames import run as take_frames
from stages.run.files import write_table
from stages.sft import run as train_sft
from stages.video.frame_store import FrameReader
from tests.evaluation.prepared import PARAMS, evaluate
from tests.model.tiny_models import WRITERS
from tests.rl.runs import SMALL, rows, train
from tests.sft_inputs import quick, steps
from tests.video.clips import H264, encode
from tests.video.samples import sample

FRAMES = 256
PIXELS = FramesParams(
    policy="uniform",
    max_frames=FRAMES,
    min_pixels=256,
    max_pixels=160 * 96,
    total_pixels=FRAMES // 2 * 768,
    factor=16,
    kernel="pillow",
    max_rejected=0.0,
    workers=1,
)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_clip_of_256_frames_is_taken_learnt_from_rolled_out_and_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = sample("long", encode(tmp_path / "long.mp4", frames=300, **H264))
    clip = clip.model_copy(update={"process": "<think>it counts</think>", "source": "shapes"})
    write_samples(Path("samples.parquet"), [clip])
    write_rejects(Path("quarantine.parquet"), [])
    take_frames(PIXELS, *map(Path, ("samples.parquet", "frames", "frames.parquet", "clips", "rejects", "taken.json")))
    shape = FrameReader(Path("frames"), Path("frames.parquet")).shape("long")
    assert (shape.count, shape.height, shape.width) == (FRAMES, 16, 32)  # the most whole patches of 3:5 in 768 pixels

    (key,) = pq.read_table("frames.parquet")["frame_key"].to_pylist()
    for name in ("sft.parquet", "rl.parquet"):
        write_table(Path(name), [clip.model_dump() | {"frame_key": key}], TRAINING_SCHEMA)
    one = quick(max_steps=1, batch_size=1, samples_per_forward=1)
    base, plot = WRITERS[family](Path("base")), Path("sft.csv")
    train_sft(one, Path("sft.parquet"), Path("frames"), base, Path("sft"), Path("sft.json"), plot)
    assert float(steps(plot)[0]["grad_norm"]) > 0

    once = {"questions_per_step": 1, "questions_per_forward": 1, "max_steps": 1, "max_new_tokens": 4}
    train(SMALL.model_copy(update=once), tmp_path, tmp_path)
    (figures,) = rows(tmp_path)
    assert 0 <= float(figures["sampling_logp_difference"]) < 1e-5  # scored as it was sampled

    answers = evaluate(PARAMS.model_copy(update={"orders": ("shuffled",)}), Path("model"), tmp_path)
    assert [(row["status"] != "error", row["n_frames"]) for row in answers] == [(True, FRAMES)]
