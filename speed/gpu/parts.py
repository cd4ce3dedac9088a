"""The parts that are measured."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import TrainingArguments

from speed.gpu.data import Lengths
from speed.tgrpo_step import released
from stages.data.sample import read_samples
from stages.generation.attention import Prefix
from stages.generation.generate import generate
from stages.generation.prefill import prefill
from stages.generation.sampling import Sampling
from stages.model.adapters import Lora, VisionTraining, add_lora
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model
from stages.model.training_set import training_set
from stages.model.vision import FeatureCache
from stages.rl.batches import micro_batch
from stages.rl.guards import Guards
from stages.rl.mismatch import logp_difference, sampling_kl
from stages.rl.questions import RolloutQuestion, ask
from stages.rl.rollout import roll_out
from stages.rl.scoring import score, use_group_prefix_attention
from stages.sft import Examples, SftParams
from stages.sft import build_trainer as build_sft_trainer
from stages.tgrpo import TgrpoParams
from stages.tgrpo import build_trainer as build_tgrpo_trainer
from stages.video.frame_store import FrameReader

GROUP, CONTRAST, TOP_P = 8, 4, 0.95
LORA = Lora(rank=16, alpha=32)
STEPS = 3  # of a training; the first warms up and is not counted

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Bench:
    """A model folder, its questions, and where it runs."""

    folder: Path
    samples: Path
    reader: FrameReader
    lengths: Lengths
    device: torch.device
    work: Path

    @property
    def builder(self) -> PromptBuilder:
        """The prompt builder of the model."""
        return PromptBuilder(self.folder)

    def questions(self) -> list[RolloutQuestion]:
        """All questions as the first step asks them."""
        return [ask(each, self.reader, self.builder, "shuffle", 0, 0) for each in read_samples(self.samples)]

    def policy(self, lora: bool = True, precision: str = "bf16") -> PreTrainedModel:
        """The model on the device, with adapters if wanted."""
        model = load_model(self.folder, "bf16" if precision == "bf16" else "fp32")
        use_group_prefix_attention(model)
        policy = cast(PreTrainedModel, add_lora(model, LORA).eval()) if lora else model
        torch.nn.Module.to(policy, self.device)
        return policy

    def autocast(self) -> torch.autocast:
        """As training computes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def timed(run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """A result and the seconds until the device had it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    result = run(*args, **kwargs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - begin


def free() -> None:
    """Give back memory, and start its peak anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float:
    """The highest memory since `free`, in GiB; 0 without a GPU."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def agreement(bench: Bench, precision: str) -> dict[str, float]:
    """How far sampling in bf16 is from scoring in a precision."""
    sampler, builder = bench.policy(), bench.builder
    sampling = Sampling(bench.lengths.completion, 1.0, TOP_P)
    with bench.autocast():
        groups = roll_out(sampler, builder, bench.questions()[:2], GROUP, CONTRAST, sampling, 0, 0, FeatureCache(0))
    scorer = sampler if precision == "bf16" else bench.policy(lora=False, precision="fp32")
    batch = micro_batch(builder, groups, torch.zeros(len(groups), GROUP), bench.device)
    with torch.no_grad(), torch.autocast(bench.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        scored_RC = score(scorer, batch.packed, batch.media, 1.0).logps_RC
    policies = scored_RC, batch.sampled_logps_RC, batch.packed.mask_RC
    return {"logp_difference": float(logp_difference(*policies)), "kl": float(sampling_kl(*policies))}


def decoding(bench: Bench, questions: int) -> dict[str, float]:
    """Milliseconds per token, with 8 + 4 rows per question."""
    model, builder = bench.policy(), bench.builder
    asked = bench.questions()[:questions]
    prompts = [each.ordered for each in asked] + [each.contrast or each.ordered for each in asked]
    counts = [GROUP] * questions + [CONTRAST] * questions
    seconds: dict[int, float] = {}
    short, long = max(2, bench.lengths.completion // 4), bench.lengths.completion
    forbid_end(model, builder)
    with bench.autocast():
        for tokens in (short, short, long):  # the first warms up
            sampling, seeds = Sampling(tokens, 1.0, TOP_P), list(range(len(prompts)))
            seconds[tokens] = timed(generate, model, builder, prompts, counts, sampling, seeds)[1]
    return {"milliseconds": 1000 * (seconds[long] - seconds[short]) / (long - short), "gib": peak()}


def prefilling(bench: Bench) -> dict[str, float]:
    """Seconds of the prompts of all questions, on both orders of frames."""
    model, builder, asked = bench.policy(), bench.builder, bench.questions()
    prompts = [each.ordered for each in asked] + [each.contrast or each.ordered for each in asked]
    longest, places = max(len(prompt.ids_P) for prompt in prompts), list(range(len(prompts)))
    prefix = Prefix(bench.builder.family.recurrent(model.config), len(prompts), longest, bench.device)
    with torch.no_grad(), bench.autocast():
        # The first pass warms up.
        _, seconds = [timed(prefill, model, builder, prompts, prefix, places)[1] for _ in range(2)]
    return {"seconds": seconds, "gib": peak()}


def forbid_end(model: PreTrainedModel, builder: PromptBuilder) -> None:
    """Let rows run to the end: the end token is never drawn."""
    head = model.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    bias = torch.zeros(head.out_features, dtype=head.weight.dtype, device=head.weight.device)
    bias[builder.end_id] = -1e4
    head.bias = torch.nn.Parameter(bias, requires_grad=False)


class Seconds(TrainerCallback):
    """The time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Wait for the device, and take the time."""
        self.ends.append(timed(time.perf_counter)[0])


def sft(bench: Bench, params: SftParams) -> dict[str, float]:
    """Tokens per second of SFT."""
    examples = Examples(read_samples(bench.samples), bench.reader, bench.builder, None)
    trainer, seconds = build_sft_trainer(params, examples, bench.folder, bench.work / "sft"), Seconds()
    trainer.add_callback(seconds)
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train()
    seen = [row["num_input_tokens_seen"] for row in trainer.state.log_history if "loss" in row]
    spent = seconds.ends[-1] - seconds.ends[0]
    return {"tokens_per_second": (seen[-1] - seen[0]) / spent, "seconds": spent / (STEPS - 1), "gib": peak()}


def sft_params(feature_cache_gib: float = 0.0) -> SftParams:
    """As in profiles/one-gpu.yaml: adapters, checkpointing, packed rows.

    All steps show the same clips: with a cache only the first one runs the vision tower.
    """
    return SftParams(
        feature_cache_gib=feature_cache_gib,
        max_steps=STEPS,
        batch_size=8,
        tokens_per_forward=8192,
        learning_rate=1e-5,
        vision_lr_scale=0.0,
        lora=LORA,
        save_steps=1000,
        threads=8,
    )


def tgrpo(bench: Bench, params: TgrpoParams) -> dict[str, float]:
    """Seconds of the last step, by phase."""
    samples, tokens = read_samples(bench.samples), params.max_new_tokens
    questions = training_set(samples, bench.reader, bench.builder, lambda _: tokens, None)
    trainer = build_tgrpo_trainer(params, questions, bench.reader, bench.folder, bench.work / "tgrpo")
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train_on()
    last = [row for row in trainer.state.log_history if "reward" in row][-1]
    phases = {name: value for name, value in last.items() if name.startswith("seconds_")}
    figures = ("completion_tokens", "sampling_logp_difference", "sampling_kl", "gpu_idle")
    shown = {name: last[name] for name in figures if name in last}
    return {"seconds": sum(phases.values()), **phases, **shown, "gib": peak()}


def tgrpo_params(lengths: Lengths, vision: VisionTraining, lora: bool = True) -> TgrpoParams:
    """8 questions with 8 + 4 responses, without kept features."""
    return TgrpoParams(
        feature_cache_gib=0.0,
        group_size=GROUP,
        contrast_size=CONTRAST,
        max_new_tokens=lengths.completion,
        length_min=1,
        length_max=lengths.completion,
        questions_per_step=8,
        questions_per_forward=1,
        max_steps=STEPS - 1,
        learning_rate=1e-5,
        freeze_vision=vision == "frozen",
        lora=LORA.model_copy(update={"vision": vision}) if lora else None,
        guards=Guards(window=1000),
        save_steps=1000,
        threads=8,
    )


def released_step(bench: Bench) -> dict[str, float]:
    """One question in the way of the released code."""
    model, builder = bench.policy(), bench.builder
    forbid_end(model, builder)
    sampling = Sampling(bench.lengths.completion, 1.0, TOP_P)
    with bench.autocast():
        (group,) = roll_out(model, builder, bench.questions()[:1], GROUP, CONTRAST, sampling, 0, 0, None)
    model.set_attn_implementation({"text_config": "sdpa"})
    advantages_R = torch.randn(GROUP, device=bench.device)
    with bench.autocast():
        with torch.no_grad():
            rollout = timed(released.roll_out, model, builder, group, bench.lengths.completion)[1]
            (reference_RC, _), reference = timed(released.logps, model, builder, group)
        model.train()
        model.activation_checkpointing_enable()
        loss, forward = timed(released.policy_loss, model, builder, group, reference_RC, advantages_R)
        backward = timed(loss.backward)[1]
    spent = {"seconds_rollout": rollout, "seconds_reference": reference, "seconds_update": forward + backward}
    return {"seconds": sum(spent.values()), **spent, "gib": peak()}
