"""T-GRPO: reinforcement learning that rewards answers which need the frames' order.

See paper.md §2.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from pydantic import Field, model_validator
from torch import nn
from transformers.modeling_utils import PreTrainedModel
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import set_seed
from transformers.training_args import TrainingArguments

from stages.data.rollouts import ROLLOUT_SCHEMA
from stages.data.sample import read_samples
from stages.model.adapters import add_lora
from stages.model.freezing import freeze
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.model.optimisation import Batch, Optimisation
from stages.model.peers import meet
from stages.model.processes import join_processes
from stages.model.router import RouterOptions
from stages.model.step_progress import Progress
from stages.model.training import save_trained
from stages.model.training_set import TrainingSet, training_set
from stages.model.vision import FeatureCache
from stages.rl.metrics import Figure, StepRow, step_rows
from stages.rl.params import WITHOUT_RESPONSES, StepParams
from stages.rl.questions import question_plan
from stages.rl.rewards import CAN_NORMALISE
from stages.rl.sampler import Sampler
from stages.rl.scoring import use_group_prefix_attention
from stages.rl.served import ServedRollouts
from stages.rl.sharing import StepPlan
from stages.rl.stopwatch import Stopwatch
from stages.rl.trainer import TgrpoTrainer
from stages.run.command import command
from stages.run.files import read_json, write_figures, write_json, write_table
from stages.run.work import resume_note, work_dir
from stages.video.frame_store import FrameReader

# plots/tgrpo.csv, one row per step. It has no seconds, so that equal runs give equal files. Without a contrast group or
# a KL term some figures do not exist.
COLUMNS: tuple[Figure, ...] = get_args(Figure)
KEPT_ROLLOUTS = 20
HEADLINE: tuple[Figure, ...] = ("reward", "accuracy")  # the figures that DVC compares
SUMMARY_STEPS = 20  # the metrics are means over the first and the last so many steps


class TgrpoParams(StepParams, RouterOptions, Optimisation):
    """The questions, what a step does (stages/rl/params.py) and how it is optimised."""

    rl_folder: str = Field(
        default="data",
        description="folder of the RL set (rl.parquet, rejects.parquet): data for all that the filter keeps, "
        "data/probed/<model> for what the rules of probe keep of it",
    )

    questions_per_step: int = Field(default=8, ge=1, description="questions of an optimizer step, over all processes")
    questions_per_forward: int = Field(
        default=8, ge=1, description="questions packed into one row; fewer need less memory"
    )
    max_steps: int = Field(default=1000, ge=1, description="optimizer steps of the run")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="learning rate after the warm-up: as it is, or falling to 0 by a cosine"
    )
    max_grad_norm: float = Field(default=5.0, gt=0, description="norm to which a longer gradient is scaled down")
    freeze_router: bool = Field(
        default=True, description="leave the weights that choose a mixture's experts as they are; always so with lora"
    )
    save_steps: int = Field(default=50, ge=1, description="optimizer steps between checkpoints")

    @property
    def batch(self) -> Batch:
        """Questions per step and per forward."""
        return Batch(
            "tgrpo.questions_per_step", self.questions_per_step, "questions_per_forward", self.questions_per_forward
        )

    @model_validator(mode="after")
    def _fits_together(self) -> "TgrpoParams":
        if self.contrast_size == 0 and self.mode.needs_responses:
            raise ValueError(
                f"contrast_size 0 leaves nothing to compare with: raise it or set temporal to {WITHOUT_RESPONSES}"
            )
        if self.contrast_size == 0 and self.gate_visits:
            raise ValueError("gate_visits compares answers on contrast frames: raise contrast_size or set it to 0")
        if self.contrast_scale == "batch" and not self.mode.can_normalise:
            raise ValueError(f"contrast_scale batch is for temporal {' and '.join(CAN_NORMALISE)}: set it to none")
        if self.length_min > self.length_max:
            raise ValueError(
                "length_min is above length_max, so that no response earns the bonus: set omega 0 if none should"
            )
        if self.save_steps % self.updates_per_rollout:
            raise ValueError(
                "save_steps must be a multiple of updates_per_rollout: a rollout is not part of a checkpoint"
            )
        if self.lora is not None and self.freeze_vision != (self.lora.vision == "frozen"):
            raise ValueError(
                "freeze_vision and lora.vision contradict each other: set freeze_vision true, or lora.vision to "
                "adapters or full"
            )
        return self

    @model_validator(mode="after")
    def _servers_can(self) -> "TgrpoParams":
        if self.rollout is None:
            return self
        if self.lora is None:
            raise ValueError("servers load adapters, but no full weights while they run: set lora, or rollout null")
        if self.lora.vision != "frozen":
            raise ValueError(
                "servers load adapters of the language model only: set lora.vision frozen and freeze_vision true, "
                "or rollout null"
            )
        if self.temperature != 1:
            raise ValueError(
                "servers send the log-probabilities of temperature 1 only: set temperature 1, or rollout null"
            )
        return self


def run(
    params: TgrpoParams,
    frame_store: Path,
    model: Path,
    out: Path,
    metrics: Path,
    headline: Path,
    plot: Path,
    rollouts: Path,
    samples: Path | None = None,
) -> None:
    """Train the SFT model with T-GRPO on its own rollouts.

    Args:
        params: Parameters of the stage.
        frame_store: The store that holds the samples' frames.
        model: The SFT model, which is also the reference of the KL term.
        out: The trained model in Hugging Face format.
        metrics: Means over the first and last steps, as JSON.
        headline: The few of the last means that DVC compares, as JSON.
        plot: One row of figures per step, as CSV.
        rollouts: Some whole rollouts with every part of their rewards, for the report.
        samples: Questions with answers; rl.parquet of the folder that the parameters name, unless given.
    """
    peers = meet()
    params.configure_torch()
    samples = samples or Path(params.rl_folder) / "rl.parquet"
    reader = FrameReader(frame_store, samples)
    questions = training_set(
        read_samples(samples), reader, PromptBuilder(model), lambda _: params.max_new_tokens, params.max_prompt_tokens
    )
    work = work_dir("tgrpo", params, [samples, model])
    if peers is not None:
        peers.agree(work, [samples, model])
    trainer = build_trainer(params, questions, reader, model, work)
    if trainer.is_world_process_zero():
        questions.report(work)
    trainer.train_on()
    save_trained(trainer, model, out)
    if peers is not None:
        peers.leave()
    if trainer.is_world_process_zero():
        history = step_rows(trainer.state.log_history)
        write_figures(plot, COLUMNS, history)
        means = summary(history)
        write_json(metrics, {**means, "left_out": questions.reasons, **resume_note(work)})
        write_json(headline, {name: means["last"][name] for name in HEADLINE})
        kept = [row for path in sorted((work / "rollouts").glob("*.json")) for row in read_json(path)["rows"]]
        write_table(rollouts, kept, ROLLOUT_SCHEMA)


def build_trainer(
    params: TgrpoParams, questions: TrainingSet, reader: FrameReader, model: Path, work: Path
) -> TgrpoTrainer:
    """Policy, reference and trainer.

    The reference is loaded before ZeRO-3 is switched on, which would otherwise spread it over the processes too.
    """
    set_seed(params.seed)
    joined = join_processes(params.deepspeed)
    reference = None if params.lora is not None or params.loss.beta == 0 else load_scorer(model, params)
    whole_copy = load_scorer(model, params) if params.deepspeed == 3 else None
    args = training_arguments(params, work, joined)
    for frozen in (reference, whole_copy):
        if frozen is not None:
            frozen.requires_grad_(False).to(args.device)  # type: ignore[arg-type]  # torch.device is accepted
    features = FeatureCache(params.feature_cache_gib) if params.freeze_vision else None
    builder, served = PromptBuilder(model), None
    if params.rollout is not None:
        adapters = Path(params.rollout.folder or work / "adapters")
        served = ServedRollouts(params, params.rollout, model, reader, builder, adapters)
    trainer = TgrpoTrainer(
        model=load_policy(model, params),
        args=args,
        params=params,
        plan=step_plan(params, questions, args.world_size),
        sampler=Sampler(params, questions.samples, reader, builder, Stopwatch(), features, served),
        reference=reference,
        whole_copy=whole_copy,
        kept=work / "rollouts",
        keep_every=max(1, params.max_steps // KEPT_ROLLOUTS),
    )
    trainer.weigh_routers(params.router_loss)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress({"reward": "reward", "p": "p", "p_contrast": "p̃", "kl": "KL", "idle": "idle"}))
    return trainer


def step_plan(params: TgrpoParams, questions: TrainingSet, processes: int) -> StepPlan:
    """The questions of all steps, to be shared out over the processes."""
    return StepPlan(
        params,
        rows=question_plan(
            len(questions.samples), params.max_steps, params.questions_per_step, params.updates_per_rollout, params.seed
        ),
        samples=questions.samples,
        prompt_tokens=[length - params.max_new_tokens for length in questions.lengths],
        per_step=params.questions_per_step,
        batch_size=params.questions_per_forward,
        processes=processes,
    )


def load_scorer(path: Path, params: TgrpoParams) -> PreTrainedModel:
    """A model that can score packed rows."""
    model = load_model(path, params.weight_precision)
    use_group_prefix_attention(model)
    return model


def load_policy(path: Path, params: TgrpoParams) -> nn.Module:
    """The model to train, with adapters or a frozen vision tower."""
    model = load_scorer(path, params)
    freeze(model, params.freeze_vision, params.freeze_router)
    return model if params.lora is None else add_lora(model, params.lora)


def training_arguments(params: TgrpoParams, work: Path, joined: dict[str, Any]) -> TrainingArguments:
    """Trainer's arguments.

    UserError when the questions of a step cannot be shared out evenly.
    """
    return params.arguments(
        work,
        joined,
        max_steps=params.max_steps,
        lr_scheduler_type="cosine" if params.schedule == "cosine" else "constant_with_warmup",
    )


class Summary(TypedDict):
    """metrics/tgrpo.json: the number of steps, and means over some of them.

    `first` and `last` are the means of each figure over the first and last SUMMARY_STEPS.
    """

    steps: int
    first: dict[Figure, float]
    last: dict[Figure, float]


def summary(history: Sequence[StepRow]) -> Summary:
    """The metrics of a run."""

    def _means(rows: Sequence[StepRow]) -> dict[Figure, float]:
        return {name: sum(row[name] for row in rows) / len(rows) for name in COLUMNS if name != "step"}

    return {"steps": len(history), "first": _means(history[:SUMMARY_STEPS]), "last": _means(history[-SUMMARY_STEPS:])}


if __name__ == "__main__":
    command(run)
