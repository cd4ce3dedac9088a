"""Cold start: supervised fine-tuning on the curated chains of thought (paper.md §4).

One difference from the released code matters: the loss is on the assistant's tokens only, not on prompt and frames.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import set_seed
from transformers.training_args import TrainingArguments

from stages.data.sample import read_samples
from stages.model.adapters import add_lora
from stages.model.attention import use_packed_attention
from stages.model.examples import Examples, PackedExamples
from stages.model.freezing import freeze
from stages.model.inputs import IGNORE, Prompt, PromptBuilder
from stages.model.load import load_model
from stages.model.optimisation import Batch, Optimisation
from stages.model.packing import packed_rows, shuffled_steps
from stages.model.peers import meet
from stages.model.processes import join_processes, process_count
from stages.model.router import MixtureTrainer, RouterOptions
from stages.model.step_progress import Progress
from stages.model.training import save_trained
from stages.model.training_set import TrainingSet
from stages.model.vision import FeatureCache, encoded_media, joint_media
from stages.run.command import command
from stages.run.files import write_figures, write_json
from stages.run.work import resume_note, work_dir
from stages.video.frame_store import FrameReader

# plots/sft.csv, one row per step: the norm is that before clipping, the tokens are those seen so far, prompts included.
COLUMNS = ("step", "loss", "learning_rate", "grad_norm", "tokens")
SUMMARY_STEPS = 20  # last steps whose mean loss the metrics hold


class Summary(TypedDict):
    """The content of metrics/sft.json."""

    samples: int
    left_out: dict[str, int]
    steps: int
    tokens: float
    loss: float


class SftParams(RouterOptions, Optimisation):
    """Parameters of SFT; the defaults are the paper's (paper.md §4)."""

    epochs: float = Field(default=1.0, gt=0, description="passes over the training set")
    max_steps: int | None = Field(default=None, ge=1, description="number of steps, in place of `epochs`")
    batch_size: int = Field(default=8, ge=1, description="samples per step, over all processes")
    samples_per_forward: int = Field(
        default=1, ge=1, description="samples computed at once, padded to the longest; fewer need less memory"
    )
    tokens_per_forward: int | None = Field(
        default=None,
        ge=1,
        description="most tokens of a forward, whose samples are packed without padding; null: samples_per_forward",
    )
    vision_lr_scale: float = Field(
        default=1.0, ge=0, description="learning rate of the vision tower / learning_rate; 0 freezes the tower"
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="AdamW's decay of its two moments")

    @property
    def batch(self) -> Batch:
        """Samples per step and per forward."""
        return Batch("sft.batch_size", self.batch_size, "samples_per_forward", self.samples_per_forward)

    @property
    def freezes_vision(self) -> bool:
        """Whether the vision tower is not trained."""
        return self.vision_lr_scale == 0 if self.lora is None else self.lora.vision == "frozen"

    @model_validator(mode="after")
    def _fits_together(self) -> "SftParams":
        if self.vision_lr_scale == 0 and not self.freezes_vision:
            raise ValueError("lora.vision trains the vision tower and vision_lr_scale 0 freezes it: change one of them")
        if self.tokens_per_forward is not None and self.samples_per_forward > 1:
            raise ValueError(
                "tokens_per_forward packs samples: leave samples_per_forward out, or set tokens_per_forward null"
            )
        return self


def run(params: SftParams, samples: Path, frame_store: Path, model: Path, out: Path, metrics: Path, plot: Path) -> None:
    """Fine-tune a model on samples with a chain of thought.

    Args:
        params: Parameters of the stage.
        samples: Questions with thoughts and answers (sft.parquet).
        frame_store: The store that holds the samples' frames.
        model: The base model.
        out: The trained model in Hugging Face format.
        metrics: Samples, steps, tokens and final loss, as JSON.
        plot: One row per step, as CSV.
    """
    peers = meet()
    params.configure_torch()
    reader, builder = FrameReader(frame_store, samples), PromptBuilder(model)
    examples = Examples(read_samples(samples), reader, builder, params.max_prompt_tokens)
    work = work_dir("sft", params, [samples, model])
    if peers is not None:
        peers.agree(work, [samples, model])
    trainer = build_trainer(params, examples, model, work)
    if trainer.is_world_process_zero():
        examples.set.report(work)
    trainer.train_on()
    save_trained(trainer, model, out)
    if peers is not None:
        peers.leave()
    if trainer.is_world_process_zero():
        logged = (row for row in trainer.state.log_history if "loss" in row)
        history = [{**row, "tokens": row["num_input_tokens_seen"]} for row in logged]
        write_figures(plot, COLUMNS, history)
        write_json(metrics, {**summary(history, examples.set), **resume_note(work)})


class SftTrainer(MixtureTrainer):
    """Trainer for SFT, with a learning rate for the vision tower."""

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        dataset: Examples | PackedExamples,
        builder: PromptBuilder,
        vision_lr_scale: float,
        features: FeatureCache | None,
    ) -> None:
        """`features` come from a frozen vision tower; None encodes pixels."""
        super().__init__(
            model=model,
            args=args,
            train_dataset=dataset,
            data_collator=dataset.collate,
            compute_loss_func=completion_loss,
        )
        self.builder, self.vision_lr_scale, self.features = builder, vision_lr_scale, features

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """The forwards of a step, and the number of their labels.

        At the end of an epoch several processes get samples a second time, so that all have as many. These samples lose
        their labels: the step is then that of one process.
        """
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        dataset: Any = self.train_dataset
        if self.args.world_size == 1 or isinstance(dataset, PackedExamples):
            return batches, items
        total, size = len(dataset), self.args.per_device_train_batch_size
        per_step = size * self.args.world_size * self.args.gradient_accumulation_steps
        left = total - self.state.global_step % math.ceil(total / per_step) * per_step
        for number, batch in enumerate(batches):
            first = (number * self.args.world_size + self.args.process_index) * size
            batch["labels"][max(0, left - first) :] = IGNORE
        return batches, self._get_num_items_in_batch(batches, device)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        prompts: Sequence[Prompt] = inputs["prompts"]
        rest = super()._prepare_inputs({name: value for name, value in inputs.items() if name != "prompts"})
        if self.features is None:
            ids, pixels = joint_media(self.builder, rest["input_ids"], prompts, self.args.device)
            return {**rest, "input_ids": ids, **pixels}
        model: Any = self.model
        with self.autocast():
            return {**rest, **encoded_media(self.features.encode(model, self.builder, prompts))}

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        if isinstance(self.train_dataset, PackedExamples):
            return SequentialSampler(self.train_dataset)  # its rows are in the order of training
        return super()._get_train_sampler(train_dataset)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over language and vision weights, each with and without decay.

        The learning rate in the log is that of the language weights.
        """
        groups: dict[tuple[bool, bool], list[Tensor]] = {}
        for name, weight in (model or self.model).named_parameters():
            if weight.requires_grad:
                shape = getattr(weight, "ds_shape", weight.shape)  # ds_shape: that of the whole weight under ZeRO-3
                is_matrix = len(shape) > 1
                groups.setdefault((f".{self.builder.family.vision}." in name, is_matrix), []).append(weight)
        if self.optimizer is None:
            optimizer, settings = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = optimizer(
                [self._group(*kind, weights) for kind, weights in sorted(groups.items())], **settings
            )
        return self.optimizer

    def _group(self, is_vision: bool, is_matrix: bool, weights: list[Tensor]) -> dict[str, Any]:
        return {
            "params": weights,
            "lr": self.args.learning_rate * (self.vision_lr_scale if is_vision else 1.0),
            "weight_decay": self.args.weight_decay if is_matrix else 0.0,
        }


def completion_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
    """Mean cross entropy over all completion tokens of the step.

    The step's tokens are those of all its micro-batches and processes: `num_items_in_batch`.
    """
    return ForCausalLMLoss(outputs.logits, labels, outputs.logits.shape[-1], num_items_in_batch)


def build_trainer(params: SftParams, examples: Examples, model: Path, work: Path) -> SftTrainer:
    """The model and its trainer.

    Under ZeRO-3 the training arguments must exist before the model is loaded.
    """
    set_seed(params.seed)
    dataset = examples if params.tokens_per_forward is None else pack(params, examples)
    args = training_arguments(params, work, dataset.per_step if isinstance(dataset, PackedExamples) else None)
    policy: Any = load_model(model, params.weight_precision)
    if params.tokens_per_forward is not None:
        use_packed_attention(policy)
    freeze(policy, params.freezes_vision, params.freeze_router)
    # Under ZeRO-3 a pass needs all processes, and what is kept differs from one to the other.
    features = FeatureCache(params.feature_cache_gib) if params.freezes_vision and params.deepspeed != 3 else None
    policy = policy if params.lora is None else add_lora(policy, params.lora)
    trainer = SftTrainer(policy, args, dataset, examples.builder, params.vision_lr_scale, features)
    trainer.weigh_routers(params.router_loss)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress({"loss": "loss"}, in_log=True))
    return trainer


def pack(params: SftParams, examples: Examples) -> PackedExamples:
    """The rows of all steps; a step still has `batch_size` samples."""
    assert params.tokens_per_forward is not None
    processes = process_count()
    params.batch.forwards(processes)
    steps = params.max_steps or math.ceil(len(examples) * params.epochs / params.batch_size)
    of_steps = shuffled_steps(len(examples), steps, params.batch_size, params.seed)
    rows, per_step = packed_rows(of_steps, examples.set.lengths, params.tokens_per_forward, processes)
    return PackedExamples(examples, rows, per_step, processes)


def training_arguments(params: SftParams, work: Path, rows_per_step: int | None = None) -> TrainingArguments:
    """Trainer's arguments; UserError when a step's samples cannot be shared out.

    `rows_per_step` counts the packed rows of all processes; None means that samples are padded.
    """
    processes = process_count()
    return params.arguments(
        work,
        join_processes(params.deepspeed),
        forwards=None if rows_per_step is None else rows_per_step // processes,
        num_train_epochs=params.epochs,
        max_steps=params.max_steps or -1,
        lr_scheduler_type="cosine",
        adam_beta1=params.betas[0],
        adam_beta2=params.betas[1],
        include_num_input_tokens_seen="non_padding" if rows_per_step is None else "all",
    )


def summary(history: Sequence[dict[str, float]], trained: TrainingSet) -> Summary:
    """The content of metrics/sft.json, which no machine's speed changes."""
    last = [row["loss"] for row in history[-SUMMARY_STEPS:]]
    return {
        "samples": len(trained.samples),
        "left_out": trained.reasons,
        "steps": len(history),
        "tokens": history[-1]["tokens"],
        "loss": sum(last) / len(last),
    }


if __name__ == "__main__":
    command(run)
