"""What training would need, before any GPU hour is spent: memory per GPU, tokens, steps, hours and disk of SFT and T-GRPO.

    python -m stages.plan [--params FILE] [--device NAME --gpus N] [--config FILE]        (make plan)

The parameters are those of params.yaml, the questions those under data/ where they exist, else the largest that the frame parameters allow.
Settings that cannot work are refused with the parameter to change, exit code 1. Hours are a model, not a measurement: arithmetic at a share
of the device's peak (`--mfu`), decoding at its bandwidth or 1 ms per layer and token.
"""

import argparse
import logging
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.base import CORPUS_LINES, EMBEDDED, BaseParams
from stages.data.sample import read_samples
from stages.embedded.language import corpus
from stages.embedded.tiny import write_tiny
from stages.filter import FilterParams
from stages.frames import FramesParams
from stages.model.adapters import Lora
from stages.model.load import find_model, load_config
from stages.planning import memory
from stages.planning.machine import DEVICES, MFU, Machine, machine
from stages.planning.media import Media, largest_media, stored_media
from stages.planning.memory import Training
from stages.planning.size import ModelSize, model_size
from stages.planning.work import Work, decode, encode, prefill, score_group, trained
from stages.run.errors import UserError
from stages.run.params import load_params
from stages.sft import SftParams
from stages.tgrpo import TgrpoParams
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

TEXT_TOKENS = 200  # of a prompt beside its frames: template, question, options, what to do
CHECKPOINTS = 3  # two are kept while the third is written
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """One stage: bytes per GPU by part (`phases` are not held at once: only the largest counts), what a step does, and the whole."""

    stage: str
    states: dict[str, float]
    phases: dict[str, float]
    tokens: float
    steps: int
    seconds: float
    disk: float

    @property
    def memory(self) -> float:
        return sum(self.states.values()) + max(self.phases.values())


def plan_tgrpo(params: TgrpoParams, size: ModelSize, media: Media, host: Machine, mfu: float = MFU) -> Plan:
    """T-GRPO on all GPUs; UserError when its questions cannot be shared out."""
    share_out(
        "tgrpo.questions_per_step",
        params.questions_per_step,
        "questions_per_forward",
        params.questions_per_forward,
        host.gpus,
    )
    how = Training(
        params.precision, params.deepspeed, params.lora.rank if params.lora else None, params.freeze_vision,
        params.gradient_checkpointing, host.gpus,
    )  # fmt: skip
    has_reference = params.loss.beta > 0
    questions = params.questions_per_step / host.gpus
    contrast = media.videos * (params.contrast_size > 0)
    rows, prompts = questions * (params.group_size + contrast * params.contrast_size), questions * (1 + contrast)
    shape, most = media.shape(TEXT_TOKENS, params.max_new_tokens), media.largest(TEXT_TOKENS, params.max_new_tokens)
    states = memory.states(size, how, reference=has_reference and params.lora is None)
    per_forward = params.questions_per_forward
    phases = {
        "rollout: KV cache": memory.cache(size, how, prompts, most.prompt, rows, most.completion),
        "update: activations and logits": memory.activations(size, how, most, per_forward, params.group_size)
        + memory.logits(size, how, per_forward * params.group_size * most.completion),
    }
    seen = Work() if params.freeze_vision else encode(shape, size)
    once = (prefill(shape) + encode(shape, size)) * prompts
    if has_reference:
        once += (score_group(shape, params.group_size) + seen) * questions
    update = trained(score_group(shape, params.group_size) + seen, params.gradient_checkpointing) * questions
    decoding = decode(shape, rows / questions) * questions
    read = size.total * how.weight + memory.cache(
        size, how, prompts, shape.prompt, rows, shape.completion / 4
    )  # half full on average
    seconds = host.seconds(update.flops(size) + once.flops(size) / params.updates_per_rollout, mfu)
    drawn = host.decode_seconds(params.max_new_tokens, read, size.layers, decoding.flops(size), mfu)
    return Plan(
        "tgrpo", states, phases,
        tokens=params.questions_per_step * (shape.prompt + params.group_size * shape.completion),
        steps=params.max_steps,
        seconds=seconds + drawn / params.updates_per_rollout,
        disk=disk(size, how),
    )  # fmt: skip


def plan_sft(
    params: SftParams,
    size: ModelSize,
    media: Media,
    completion: int,
    samples: int | None,
    host: Machine,
    mfu: float = MFU,
) -> Plan:
    """SFT on all GPUs; `samples` is None before the data exists, and then only `max_steps` says how long it takes."""
    share_out("sft.batch_size", params.batch_size, "samples_per_forward", params.samples_per_forward, host.gpus)
    how = Training(
        params.precision, params.deepspeed, params.lora.rank if params.lora else None, params.vision_lr_scale == 0,
        params.gradient_checkpointing, host.gpus,
    )  # fmt: skip
    if params.max_steps is None and samples is None:
        raise UserError(
            "how long sft takes is not known before its data exists: run the filter stage, or pass --samples"
        )
    shape, most = media.shape(TEXT_TOKENS, completion), media.largest(TEXT_TOKENS, completion)
    logits = (
        size.vocabulary * params.samples_per_forward * completion * (2 * how.element + 8)
    )  # and their gradient, both also in fp32
    forward = score_group(shape, 1)
    work = trained(forward + (encode(shape, size) if params.vision_lr_scale else Work()), params.gradient_checkpointing)
    if not params.vision_lr_scale:
        work += encode(shape, size)
    return Plan(
        "sft",
        memory.states(size, how, reference=False),
        {"update: activations and logits": memory.activations(size, how, most, params.samples_per_forward, 1) + logits},
        tokens=params.batch_size * (shape.prompt + completion),
        steps=params.max_steps or math.ceil((samples or 0) * params.epochs / params.batch_size),
        seconds=host.seconds((work * (params.batch_size / host.gpus)).flops(size), mfu),
        disk=disk(size, how),
    )


def share_out(name: str, total: int, part_name: str, part: int, processes: int) -> None:
    """UserError unless `total` is a multiple of what all processes take at once."""
    if total % (part * processes):
        raise UserError(f"{name} ({total}) must be a multiple of {part_name} x GPUs ({part} x {processes})")


def disk(size: ModelSize, how: Training) -> float:
    """Checkpoints with their optimizer, the model that comes out and its copy in DVC's cache."""
    master = 4 if how.zero is not None and how.lora_rank is None else 0
    kept = how.trainable(size) * (4 if how.lora_rank is not None else how.weight)
    return CHECKPOINTS * (kept + how.trainable(size) * (memory.ADAM + master)) + 2 * size.total * how.weight


Planner = Callable[[Any, Media], Plan]


def advice(params: SftParams | TgrpoParams, media: Media, max_frames: int, plan: Planner, room: float) -> str:
    """Changes, the mildest first, each kept on the way to the next, until the plan fits into `room`."""
    said: list[str] = []
    for text, change in milder(params):
        if any(getattr(params, name) != value for name, value in change.items()):
            params = params.model_copy(update=change)
            said.append(text)
            if plan(params, media).memory <= room:
                return "set " + ", ".join(said)
    for frames in (max_frames // 2, max_frames // 4):
        fewer = [*said, f"frames.max_frames {frames} (fewer frames)"]
        if plan(params, media.of_frames(frames / max_frames)).memory <= room:
            return "set " + ", ".join(fewer)
        if isinstance(params, TgrpoParams):
            shorter = params.model_copy(update={"max_new_tokens": max(1, params.max_new_tokens // 2)})
            if plan(shorter, media.of_frames(frames / max_frames)).memory <= room:
                return f"set {', '.join(fewer)}, tgrpo.max_new_tokens {shorter.max_new_tokens}"
    return f"{', '.join(said)}, a quarter of the frames and half the answer do not make it fit: choose a smaller base.model or larger GPUs"


def milder(params: SftParams | TgrpoParams) -> list[tuple[str, dict[str, Any]]]:
    """What saves memory: how it is said, and the fields it changes."""
    lora = {"lora": Lora(rank=16, alpha=32), "deepspeed": None}
    common = [
        ("gradient_checkpointing true", {"gradient_checkpointing": True}),
        ("precision bf16", {"precision": "bf16"}),
    ]
    if isinstance(params, SftParams):
        forward, adapters = {"samples_per_forward": 1}, lora | {"vision_lr_scale": 0.0}
        named = [
            *common,
            ("samples_per_forward 1", forward),
            ("lora {rank: 16, alpha: 32}, vision_lr_scale 0 and deepspeed null", adapters),
        ]
        return [(f"sft.{text}", change) for text, change in named]
    forward, adapters = {"questions_per_forward": 1}, lora | {"freeze_vision": True}
    frozen = "lora {rank: 16, alpha: 32}, freeze_vision true and deepspeed null"
    named = [*common, ("questions_per_forward 1", forward), (frozen, adapters)]
    return [(f"tgrpo.{text}", change) for text, change in named]


def table(plan: Plan, host: Machine) -> str:
    """The plan for a person."""
    parts = {**plan.states, **plan.phases}
    rows = [f"  {name:<34}{size / GIB:9.2f} GiB" for name, size in parts.items() if size]
    hours = plan.steps * plan.seconds / 3600
    return "\n".join(
        [
            f"{plan.stage} on {host.gpus} x {host.name}, {host.memory / GIB:.0f} GiB each",
            *rows,
            f"  {'peak per GPU, of usable':<34}{plan.memory / GIB:9.2f} of {host.usable / GIB:.2f} GiB",
            f"  {plan.tokens:,.0f} tokens per step at most, {plan.steps:,} steps, about {plan.seconds:.3g} s each: {hours:.3g} h",
            f"  {plan.disk / GIB:.3g} GiB of disk for checkpoints and the model",
        ]
    )


def refusal(plan: Plan, params: Any, media: Media, max_frames: int, planner: Planner, host: Machine) -> str | None:
    """What to change if the plan does not fit into a GPU."""
    if plan.memory <= host.usable:
        return None
    what = advice(params, media, max_frames, planner, host.usable)
    return f"{plan.stage} needs {plan.memory / GIB:.1f} GiB per GPU and {host.usable / GIB:.1f} are usable: {what}"


def base_size(base: BaseParams, config: Path | None) -> ModelSize:
    """The sizes of the base model: of the config given, of the built or configured model, or of the embedded one."""
    if config is not None:
        return model_size(load_config(config.parent if config.is_file() else config))
    if base.model != EMBEDDED:
        try:
            return model_size(load_config(find_model(base.model, base.revision, ["config.json"])))
        except UserError as error:
            raise UserError(f"{error}; pass its config.json with --config") from error
    with TemporaryDirectory() as folder:
        write_tiny(Path(folder), corpus(np.random.default_rng(base.seed), CORPUS_LINES), base.seed, base.prompt)
        return model_size(load_config(Path(folder)))


def questions(data: Path, file: str, spec: FramesParams, size: ModelSize) -> tuple[Media, int | None]:
    """The media of a training set and its number of samples, None (and the largest media) before it exists."""
    paths = [data / file, data / "frames.parquet", data / "frames"]
    if not all(path.exists() for path in paths):
        return largest_media(spec, size), None
    reader = FrameReader(data / "frames", data / "frames.parquet")
    with_frames = set(reader.sample_ids)
    samples = [sample for sample in read_samples(paths[0]) if sample.sample_id in with_frames]
    if not samples:
        raise UserError(f"{paths[0]}: no sample has frames; run the frames stage")
    return stored_media(samples, reader, size), len(samples)


def main(arguments: Sequence[str]) -> None:
    """Plan both stages; UserError with all that cannot work."""
    parser = argparse.ArgumentParser(prog="python -m stages.plan", description="What SFT and T-GRPO would need.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--device", help=f"cpu, {', '.join(DEVICES)} (default: what is here)")
    parser.add_argument("--gpus", type=int, help="how many of them (default: those here, or 1)")
    parser.add_argument(
        "--config", type=Path, help="the base model's config.json or its folder, where it cannot be fetched"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="where the training sets are, if they exist yet"
    )
    parser.add_argument("--samples", type=int, help="SFT samples, before the training set exists")
    parser.add_argument(
        "--mfu", type=float, default=MFU, help="share of the peak that arithmetic reaches (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    file = chosen.params
    base, frames = load_params(BaseParams, "base", file), load_params(FramesParams, "frames", file)
    sft, tgrpo = load_params(SftParams, "sft", file), load_params(TgrpoParams, "tgrpo", file)
    completion = load_params(FilterParams, "filter", file).max_tokens
    size = base_size(base, chosen.config)
    log.info("%s: %.2f M parameters, of which vision %.2f M", base.model, size.total / 1e6, size.vision / 1e6)
    sft_media, found = questions(chosen.data, "sft.parquet", frames, size)
    rl_media, _ = questions(chosen.data, "rl.parquet", frames, size)
    samples = found or chosen.samples
    stages: list[tuple[Any, Media, Planner]] = [
        (
            sft,
            sft_media,
            lambda params, media: plan_sft(params, size, media, completion, samples, host(params), chosen.mfu),
        ),
        (tgrpo, rl_media, lambda params, media: plan_tgrpo(params, size, media, host(params), chosen.mfu)),
    ]

    def host(params: SftParams | TgrpoParams) -> Machine:
        return machine(chosen.device, chosen.gpus, params.threads)

    refusals = []
    for params, media, planner in stages:
        plan = planner(params, media)
        log.info(table(plan, host(params)))
        refusals.append(refusal(plan, params, media, frames.max_frames, planner, host(params)))
    if any(refusals):
        raise UserError("; ".join(text for text in refusals if text))


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    log.setLevel(logging.INFO)
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"plan: {error}")
