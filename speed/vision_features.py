"""What kept features of a frozen vision tower save in SFT.

    python -m speed.vision_features [--root .] [--questions 256]

It trains the embedded model as params.yaml says, on the first questions of the cold start, in one process: with
features encoded for each forward, for each clip, and for each clip once. The last two must end with equal weights.
Seconds are those of a step in the second and third epoch, when all clips are known.
"""

import argparse
import json
import logging
import tempfile
from pathlib import Path

import torch
from transformers.trainer_utils import SaveStrategy

from speed.gpu.parts import Seconds
from stages.data.sample import read_samples
from stages.model.examples import Examples
from stages.model.inputs import PromptBuilder
from stages.run.params import load_params
from stages.sft import SftParams, build_trainer
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

WAYS = {"encoded for each forward": 0.0, "encoded for each clip": 1e-9, "encoded once and kept": 1.0}  # GiB


def train(params: SftParams, examples: Examples, model: Path, per_epoch: int) -> tuple[float, torch.Tensor]:
    """Seconds per step after the first epoch, and all weights."""
    with tempfile.TemporaryDirectory() as work:
        trainer, seconds = build_trainer(params, examples, model, Path(work)), Seconds()
        trainer.args.save_strategy = SaveStrategy.NO
        trainer.add_callback(seconds)
        trainer.train()
    weights = torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])
    return (seconds.ends[-1] - seconds.ends[per_epoch - 1]) / (len(seconds.ends) - per_epoch), weights


def main() -> None:
    """Train in all ways, and print seconds and ratios."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(description="What kept vision features save.")
    parser.add_argument("--root", type=Path, default=Path(), help="a checkout whose filter and base stages have run")
    parser.add_argument("--questions", type=int, default=256)
    chosen = parser.parse_args()
    root: Path = chosen.root
    params = load_params(SftParams, "sft", root / "params.yaml")
    params.configure_torch()
    samples = read_samples(root / "data/sft.parquet")[: chosen.questions]
    reader = FrameReader(root / "data/frames", root / "data/sft.parquet")
    examples = Examples(samples, reader, PromptBuilder(root / "models/base"))
    per_epoch = len(examples) // params.batch_size
    found = {
        way: train(
            params.model_copy(update={"feature_cache_gib": gib, "max_steps": 3 * per_epoch}),
            examples,
            root / "models/base",
            per_epoch,
        )
        for way, gib in WAYS.items()
    }
    (_, alone), (kept_seconds, kept) = (found[way] for way in list(WAYS)[1:])
    assert torch.equal(alone, kept), "what is kept changed the weights"
    for way, (seconds, _) in found.items():
        log.info("%-26s%8.0f ms a step, %.2f of kept", way, 1000 * seconds, seconds / kept_seconds)
    log.info(json.dumps({way: round(seconds / kept_seconds, 3) for way, (seconds, _) in found.items()}))


if __name__ == "__main__":
    main()
