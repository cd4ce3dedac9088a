"""Thoughts of an evaluation, exchanged in the model that wrote them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from stages.data.sample import Sample
from stages.generation.faithfulness import Exchange, answers_change
from stages.model.inputs import PromptBuilder
from stages.model.load import Precision, load_model
from stages.run.progress import progress_bar
from stages.video.frame_store import FrameReader

TOGETHER = 32  # thoughts that are exchanged together


def changed_answers(
    folder: Path,
    reader: FrameReader,
    outputs: Sequence[tuple[Sample, str, str]],
    max_new_tokens: int,
    precision: Precision = "fp32",
) -> list[bool]:
    """Whether each answer changes with a thought written on other frames.

    `outputs` holds questions with the model's output on frames in order and on other frames. An output without a closed
    thought is left out. See stages/generation/faithfulness.py.
    """
    builder, model = PromptBuilder(folder), load_model(folder, precision)
    if torch.cuda.is_available():
        torch.nn.Module.cuda(model)
    changed: list[bool] = []
    with progress_bar(total=len(outputs), unit="thought") as bar:
        for first in range(0, len(outputs), TOGETHER):
            exchanges = [
                Exchange(sample, builder(sample, reader.load(sample.sample_id)), own, other)
                for sample, own, other in outputs[first : first + TOGETHER]
            ]
            changed += answers_change(model, builder, exchanges, max_new_tokens, "default", correct_above=0.5)
            bar.update(len(exchanges))
    return changed
