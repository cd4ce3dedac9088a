"""The samples that a model can be trained on, and their lengths."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.data.sample import Sample
from stages.model.inputs import PromptBuilder, UnusableSample
from stages.run.errors import UserError
from stages.run.files import write_json
from stages.run.progress import progress_bar
from stages.video.frame_store import FrameReader, with_frames

log = logging.getLogger(__name__)

NAMED = 3  # samples that the log names for each reason
LEFT_OUT = "left_out.json"  # in the work folder: every sample that was left out, and why


@dataclass(frozen=True)
class TrainingSet:
    """Samples with their lengths in tokens, and the samples left out.

    A length counts prompt and answer.
    """

    samples: list[Sample]
    lengths: list[int]
    left_out: dict[str, UnusableSample]

    @property
    def reasons(self) -> dict[str, int]:
        """How many samples were left out, by reason."""
        return dict(Counter(error.reason for error in self.left_out.values()))

    def report(self, work: Path) -> None:
        """Log how many samples were left out; write their names to `work`."""
        for reason, count in self.reasons.items():
            same = [str(error) for error in self.left_out.values() if error.reason == reason]
            log.warning("%d samples left out, %s: %s", count, reason, "; ".join(same[:NAMED]))
        if self.left_out:
            write_json(work / LEFT_OUT, {name: str(error) for name, error in self.left_out.items()})


def training_set(
    samples: Sequence[Sample],
    reader: FrameReader,
    builder: PromptBuilder,
    answer_tokens: Callable[[Sample], int],
    max_prompt_tokens: int | None,
) -> TrainingSet:
    """The samples that the model can be trained on.

    Left out are samples without frames, samples that `answer_tokens` raises UnusableSample for, samples whose frames
    do not fit the model's grid, and prompts that are too long: over `max_prompt_tokens`, or with their answer over
    what the model was made for. UserError when no sample is left.

    The height and width of frames stand only in the first picture, and a row of the store is read as a whole: 0.4 ms
    for 16 pictures of 100 KB each, about a minute for the 165,000 samples of the paper.
    """
    found = TrainingSet([], [], {})
    for sample in progress_bar(with_frames(samples, reader), unit="sample"):
        try:
            length = _length(sample, reader, builder, answer_tokens(sample), max_prompt_tokens)
        except UnusableSample as error:
            found.left_out[sample.sample_id] = error
        else:
            found.samples.append(sample)
            found.lengths.append(length)
    if not found.samples:
        first = next(iter(found.left_out.values()))
        raise UserError(f"none of the {len(found.left_out)} samples can be trained on; the first: {first}")
    return found


def _length(
    sample: Sample, reader: FrameReader, builder: PromptBuilder, answer: int, max_prompt_tokens: int | None
) -> int:
    prompt = builder.prompt_length(sample, reader.shape(sample.sample_id))
    builder.check_length(sample.sample_id, prompt, answer, max_prompt_tokens)
    return prompt + answer
