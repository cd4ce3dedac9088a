"""How both training stages optimise: their common parameters."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from transformers.training_args import TrainingArguments

from stages.model.adapters import Lora
from stages.model.load import Precision
from stages.model.processes import ZeroStage, process_count
from stages.run.errors import UserError
from stages.run.params import LARGEST_SEED, Params


@dataclass(frozen=True)
class Batch:
    """Samples per step and per forward, with their parameters' names.

    A step's samples are those of all processes.
    """

    step_name: str
    step: int
    forward_name: str
    forward: int

    def forwards(self, processes: int, called: str = "processes") -> int:
        """Forwards per step of each process.

        UserError when the samples cannot be shared out evenly.
        """
        if self.step % (self.forward * processes):
            raise UserError(
                f"{self.step_name} ({self.step}) must be a multiple of {self.forward_name} x {called} "
                f"({self.forward} x {processes})"
            )
        return self.step // (self.forward * processes)


class Optimisation(Params):
    """How weights are trained, whatever the loss."""

    learning_rate: float = Field(default=1e-6, gt=0, description="largest learning rate of AdamW")
    warmup_steps: int = Field(default=0, ge=0, description="steps in which the learning rate rises from 0")
    weight_decay: float = Field(default=0.01, ge=0, description="decay per step and learning rate, of matrices only")
    max_grad_norm: float = Field(default=1.0, gt=0, description="a longer gradient is shortened to this norm")
    max_prompt_tokens: int | None = Field(
        default=None,
        ge=1,
        description="longest prompt; samples with a longer one are left out; null: the model's limit",
    )
    precision: Precision = Field(default="bf16", description="of the computation: bf16 or fp32")
    lora: Lora | None = Field(default=None, description="train adapters of this rank only; null trains the weights")
    gradient_checkpointing: bool = Field(
        default=True, description="compute activations again in the backward pass: less memory, more time"
    )
    deepspeed: ZeroStage | None = Field(default=None, description="ZeRO stage (2 or 3); null trains without DeepSpeed")
    feature_cache_gib: float = Field(
        default=4.0,
        ge=0,
        description="CPU memory of each process, in GiB, that keeps a frozen vision tower's features from one visit "
        "of a clip to the next; it fills as clips are seen; 0 keeps none and encodes a forward's media together",
    )
    seed: int = Field(
        default=42, ge=0, le=LARGEST_SEED, description="of the order of samples and of every random number"
    )
    save_steps: int = Field(default=100, ge=1, description="steps between checkpoints")
    save_total_limit: int = Field(
        default=2, ge=1, description="checkpoints that are kept; while one is written, one more takes room on the disk"
    )
    deterministic: bool | None = Field(
        default=None,
        description="equal runs give equal weights; on a GPU a step takes 17 % longer; null: on the CPU only",
    )
    report_to: Literal["none", "tensorboard", "wandb", "mlflow"] = Field(
        default="none", description="where figures go besides steps.jsonl"
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of each process")

    @model_validator(mode="after")
    def _adapters_can_be_merged(self) -> "Optimisation":
        if self.lora is not None and self.deepspeed == 3:
            raise ValueError("adapters cannot be merged from ZeRO-3's shards: set lora null or deepspeed 2")
        return self

    @property
    def batch(self) -> Batch:
        """How many samples a step and a forward take."""
        raise NotImplementedError

    @property
    def weight_precision(self) -> Precision:
        """Precision of the weights.

        Full training without DeepSpeed keeps fp32 weights and computes by autocast.
        """
        return "fp32" if self.lora is None and self.deepspeed is None else self.precision

    def configure_torch(self) -> None:
        """Set the process's threads, and whether operations must give equal results."""
        torch.set_num_threads(self.threads)
        deterministic = not torch.cuda.is_available() if self.deterministic is None else self.deterministic
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        # The weights are equal with and without it, and each of DeepSpeed's buffers of 2 GB takes 0.7 s to fill.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # made at run time

    def arguments(
        self, work: Path, joined: dict[str, Any], forwards: int | None = None, **more: Any
    ) -> TrainingArguments:
        """Trainer's arguments. `joined` is the result of `join_processes`.

        `forwards` per step and process are by default those of the batch.

        UserError when a step's samples cannot be shared out evenly, when a logger is not installed, or for bf16 under
        DeepSpeed without a GPU.
        """
        if self.precision == "bf16" and self.deepspeed is not None and not torch.cuda.is_available():
            raise UserError("precision bf16 needs a GPU under DeepSpeed: set precision to fp32, or deepspeed to null")
        if self.report_to != "none" and importlib.util.find_spec(self.report_to) is None:
            raise UserError(f"report_to names {self.report_to}, which is not installed: pip install {self.report_to}")
        of_batch = self.batch.forwards(process_count())
        arguments = TrainingArguments(
            output_dir=str(work),
            per_device_train_batch_size=self.batch.forward,
            gradient_accumulation_steps=forwards or of_batch,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            bf16=self.precision == "bf16",
            activation_checkpointing=self.gradient_checkpointing,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_steps=self.save_steps,
            save_total_limit=self.save_total_limit,
            seed=self.seed,
            report_to=self.report_to,
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=torch.cuda.is_available(),
            ddp_find_unused_parameters=False,
            **joined,
            **more,
        )
        # A process has one GPU: DataParallel over all that it sees would cut packed rows apart.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        return arguments
