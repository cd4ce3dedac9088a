"""Samples as examples for supervised training: prompts with the completions to learn."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from stages.data.prompt import target_text
from stages.data.sample import Sample
from stages.model.inputs import IGNORE, Prompt, PromptBuilder, UnusableSample
from stages.model.packing import packed_row
from stages.model.training_set import training_set
from stages.video.frame_store import FrameReader

Example = tuple[Prompt, Tensor]  # a prompt and its completion ids_C


class Examples(Dataset):
    """The samples as examples.

    UserError when no sample can be trained on.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        reader: FrameReader,
        builder: PromptBuilder,
        max_prompt_tokens: int | None = None,
    ) -> None:
        self.reader, self.builder = reader, builder
        self.set = training_set(
            samples, reader, builder, lambda sample: len(self._completion(sample)), max_prompt_tokens
        )
        self.samples = self.set.samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example:
        sample = self.samples[index]
        return self.builder(sample, self.reader.load(sample.sample_id)), self._completion(sample)

    def _completion(self, sample: Sample) -> Tensor:
        if sample.process is None:
            raise UnusableSample(
                sample.sample_id, "no chain of thought", "has no chain of thought: run annotate and filter first"
            )
        return self.builder.completion_ids(target_text(sample.process, sample.answer))

    def collate(self, rows: Sequence[Example]) -> dict[str, Any]:
        """Model inputs for rows of prompts and completions, but the media.

        `prompts` are those that the trainer makes the media from. Labels, and the logits that the model makes, start at
        the last token before the first completion.
        """
        prompts, completions = zip(*rows, strict=True)
        inputs = self.builder.batch(prompts, completions, pixels=False)
        start = int((inputs["labels"] != IGNORE).any(dim=0).nonzero()[0]) - 1
        labels = inputs["labels"][:, start:]
        return inputs | {"labels": labels, "logits_to_keep": labels.shape[1], "prompts": prompts}


class PackedExamples(Dataset):
    """Packed rows of samples in the order of training.

    A step takes `per_step` of them, over all processes, which take them in turns. While the model works, a thread reads
    the frames of the next row.
    """

    def __init__(self, examples: Examples, rows: list[list[int]], per_step: int, processes: int) -> None:
        self.examples, self.rows, self.per_step, self._processes = examples, rows, per_step, processes
        self._thread = ThreadPoolExecutor(1, "frames")  # one, because the reader serves one at a time
        self._ahead: dict[int, Future[list[Example]]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Example]:
        following = index + self._processes
        self._ahead = {row: self._ahead.get(row) or self._read(row) for row in (index, following) if row < len(self)}
        return self._ahead[index].result()

    def _read(self, index: int) -> Future[list[Example]]:
        return self._thread.submit(lambda: [self.examples[sample] for sample in self.rows[index]])

    def collate(self, rows: Sequence[list[Example]]) -> dict[str, Any]:
        """Model inputs for one row, as `Examples.collate` gives them."""
        [row] = rows
        prompts, completions = zip(*row, strict=True)
        return packed_row(prompts, completions) | {"prompts": prompts}
