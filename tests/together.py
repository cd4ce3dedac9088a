"""Short trainings, one after the other, on the processes that are there.

    python -m tests.together INPUTS OUT NAME…

`tests.warm` starts it, in one process or several. The names are those of `tests.process_cases`. Each process writes
what it has of a training to OUT/NAME-PROCESS.json.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from accelerate import Accelerator
from transformers.modeling_utils import PreTrainedModel

from stages.data.sample import read_samples
from stages.model.examples import Examples
from stages.model.inputs import PromptBuilder
from stages.model.training import ResumableTrainer
from stages.model.training_set import training_set
from stages.rl.sampler import Sampled
from stages.rl.sharing import SharedStep
from stages.run.files import write_json
from stages.sft import SftParams
from stages.sft import build_trainer as sft_trainer
from stages.tgrpo import TgrpoParams
from stages.tgrpo import build_trainer as tgrpo_trainer
from stages.video.frame_store import FrameReader
from tests.process_cases import CASES

Sample = Callable[[Accelerator, PreTrainedModel, SharedStep, int, Sequence[int]], Sampled]


class Outcome(TypedDict):
    """What one process leaves of a training.

    `steps` are the figures that it logged, `texts` what each question was answered, by step and question.
    """

    steps: list[dict[str, float]]
    texts: dict[str, list[str]]


def train(params: SftParams | TgrpoParams, inputs: Path, work: Path) -> Outcome:
    """A whole run, without its outputs."""
    params.configure_torch()
    texts: dict[str, list[str]] = {}
    if isinstance(params, SftParams):
        folder = inputs / "sft"
        reader, builder = FrameReader(folder / "frames", folder / "sft.parquet"), PromptBuilder(folder / "base")
        examples = Examples(read_samples(folder / "sft.parquet"), reader, builder)
        trainer: ResumableTrainer = sft_trainer(params, examples, folder / "base", work)
    else:
        folder, tokens = inputs / "tgrpo", params.max_new_tokens
        reader, builder = FrameReader(folder / "frames", folder / "rl.parquet"), PromptBuilder(folder / "sft")
        questions = training_set(read_samples(folder / "rl.parquet"), reader, builder, lambda _: tokens, None)
        made = tgrpo_trainer(params, questions, reader, folder / "sft", work)
        made.sampler.sample = recorded(made.sampler.sample, texts)  # type: ignore[method-assign]
        trainer = made
    trainer.args.save_strategy = "no"
    trainer.train_on()
    return {"steps": [row for row in trainer.state.log_history if "loss" in row], "texts": texts}


def recorded(sample: Sample, texts: dict[str, list[str]]) -> Sample:
    """`Sampler.sample` that notes the texts of its groups."""

    def note(
        accelerator: Accelerator, model: PreTrainedModel, shared: SharedStep, step: int, next_rows: Sequence[int]
    ) -> Sampled:
        sampled = sample(accelerator, model, shared, step, next_rows)
        for graded in sampled.groups:
            name = f"{step} {graded.group.question.sample.sample_id}"
            texts[name] = [each.text for each in (*graded.group.ordered, *graded.group.contrast)]
        return sampled

    return note


def main() -> None:
    """Train all cases."""
    inputs, out, *names = sys.argv[1:]
    process = int(os.environ.get("RANK", "0"))
    for name in names:
        work = Path(out) / "work" / name
        work.mkdir(parents=True, exist_ok=True)
        params = CASES[name].params
        if "WORLD_SIZE" not in os.environ:
            params = params.model_copy(update={"deepspeed": None})
        write_json(Path(out) / f"{name}-{process}.json", train(params, Path(inputs), work))


if __name__ == "__main__":
    main()
