"""What training would need, before any GPU hour is spent.

    python -m stages.plan [--params FILE] [--device NAME --gpus N] [--config FILE]        (make plan)

It prints memory per GPU, tokens, steps, hours and disk of SFT and T-GRPO. Parameters are those of params.yaml.
Questions are those under data/ where they exist, otherwise the largest that the frame parameters allow. Settings that
cannot work are refused with the parameter to change and exit code 1. Hours are a model with constants that were
measured on an H100: arithmetic runs at a share of the device's peak (`--mfu`), decoding at its bandwidth, but no faster
than kernels are launched.
"""

import argparse
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from stages.base import CORPUS_LINES, EMBEDDED, BaseParams
from stages.embedded.language import corpus
from stages.embedded.tiny import write_tiny
from stages.filter import FilterParams
from stages.frames import FramesParams
from stages.model.adapters import Lora, VisionTraining
from stages.model.load import find_model, load_config
from stages.planning import memory
from stages.planning.asking import asking_seconds
from stages.planning.machine import DEVICES, MFU, Machine, machine
from stages.planning.media import Media, less_video, training_media
from stages.planning.memory import Training
from stages.planning.plan import GIB, Plan, storage, table
from stages.planning.size import ModelSize, described, model_size
from stages.planning.work import Shape, Work, decode, encode, prefill, score_group, trained
from stages.probe import ProbeParams
from stages.run.command import tool
from stages.run.errors import UserError
from stages.run.params import load_params
from stages.sft import SftParams
from stages.tgrpo import TgrpoParams
from stages.video.spec import FrameSpec

log = logging.getLogger(__name__)

TEXT_TOKENS = 200  # of a prompt beside its frames: template, question, options, request

P = TypeVar("P", SftParams, TgrpoParams)
Planner = Callable[[P, Media], Plan]
Change = tuple[str, Mapping[str, object]]  # how a change of parameters is said, and the fields that it sets


def plan_tgrpo(params: TgrpoParams, size: ModelSize, media: Media, host: Machine, mfu: float) -> Plan:
    """T-GRPO on all GPUs; UserError when its questions cannot be shared out."""
    params.batch.forwards(host.gpus, "GPUs")
    how = _training(params, params.freeze_vision, host)
    adapted, has_reference = params.lora is not None, params.loss.beta > 0
    servers = len(params.rollout.servers) if params.rollout else 0
    questions = params.questions_per_step / host.gpus
    videos = questions * media.videos  # the questions with contrast frames
    rows = questions * params.group_size + videos * params.contrast_size
    prompts = questions + videos * (params.contrast_size > 0)
    at_once = min(1.0, (params.rollout_rows or rows) / rows)  # share of the responses
    cached = prompts * min(1.0, 2 * at_once), rows * at_once  # prompts and responses, see generate.room_for
    shape, most = media.shape(TEXT_TOKENS, params.max_new_tokens), media.largest(TEXT_TOKENS, params.max_new_tokens)
    at_a_time, answered = params.questions_per_forward, params.group_size * most.completion
    attention = at_a_time * memory.grouped_attention(size, most.prompt, params.group_size, most.completion)
    tokens, patches = at_a_time * (most.prompt + answered), at_a_time * most.visual * size.merge**2
    scanned = at_a_time * memory.scanned(most.prompt, params.group_size, most.completion)
    activations = memory.activations(size, how, tokens, attention, patches, scanned)
    decoded = cached[0], most.prompt, cached[1], most.completion
    rollout = {"rollout: prefill": memory.prefill, "rollout: KV cache": memory.cache}
    phases = {name: 0.0 if servers else needed(size, how, *decoded) for name, needed in rollout.items()}
    phases["update: activations and logits"] = activations + memory.logits(size, how, at_a_time * answered)
    scored, seen = score_group(shape, params.group_size), Work() if params.freeze_vision else encode(shape, size)
    once = encode(shape, size) * questions if servers else (prefill(shape) + encode(shape, size)) * prompts
    if has_reference:
        once += (scored + seen) * questions
    if params.mode.scores_again:
        is_encoded = params.contrast_size > 0 and not servers  # the contrast frames, for the responses to them
        once += (scored + (seen if is_encoded else encode(shape, size))) * videos
    update = trained(scored, params.gradient_checkpointing, adapted)
    update += trained(seen, params.gradient_checkpointing, how.vision == "adapters")
    decoding = decode(shape, rows / questions) * questions
    half_full = memory.cache(size, how, cached[0], shape.prompt, cached[1], shape.completion / 2)  # on average
    read = size.total * how.weight + half_full
    drawn = host.decode_seconds(params.max_new_tokens / at_once, read, size.layers, adapted, decoding.flops(size), mfu)
    arithmetic = host.seconds(update.flops(size) * questions + once.flops(size) / params.updates_per_rollout, mfu)
    return Plan(
        "tgrpo",
        host,
        memory.states(size, how, reference=has_reference and params.lora is None),
        phases,
        memory.features(size, how, params.feature_cache_gib, params.max_steps * questions, media.visual),
        tokens=params.questions_per_step * (shape.prompt + params.group_size * shape.completion),
        steps=params.max_steps,
        seconds=arithmetic + (0.0 if servers else drawn) / params.updates_per_rollout,
        storage=storage(params, size, how),
        servers=servers,
    )


def plan_sft(
    params: SftParams, size: ModelSize, media: Media, completion: int, samples: int | None, host: Machine, mfu: float
) -> Plan:
    """SFT on all GPUs; UserError when its samples cannot be shared out.

    `completion` is the most tokens of a thought. `samples` is None before the data exists, and then only `max_steps`
    says how long SFT takes.
    """
    params.batch.forwards(host.gpus, "GPUs")
    if params.max_steps is None and samples is None:
        raise UserError(
            "how long sft takes is not known before its data exists: run the filter stage, or pass --samples"
        )
    freeze_vision = params.freezes_vision
    how = _training(params, freeze_vision, host)
    shape, most = media.shape(TEXT_TOKENS, completion), media.largest(TEXT_TOKENS, completion)
    tokens, predicted = _sft_forward(params, shape, most, media.smallest(TEXT_TOKENS, completion))
    patches = tokens * most.visual / (most.prompt + completion) * size.merge**2
    activations = memory.activations(size, how, tokens, memory.packed_attention(size, tokens), patches)
    logits = size.vocabulary * predicted * (2 * how.element + memory.LOSS_BYTES)
    steps = params.max_steps or math.ceil((samples or 0) * params.epochs / params.batch_size)
    clips = min(steps * params.batch_size, samples or math.inf) / host.gpus
    vision = encode(shape, size)
    work = trained(score_group(shape, 1), params.gradient_checkpointing, params.lora is not None)
    work += vision if freeze_vision else trained(vision, params.gradient_checkpointing, how.vision == "adapters")
    return Plan(
        "sft",
        host,
        memory.states(size, how, reference=False),
        {"update: activations and logits": activations + logits},
        memory.features(size, how, params.feature_cache_gib, clips, shape.visual),
        tokens=params.batch_size * (shape.prompt + completion),
        steps=steps,
        seconds=host.seconds((work * (params.batch_size / host.gpus)).flops(size), mfu),
        storage=storage(params, size, how),
    )


def _sft_forward(params: SftParams, average: Shape, largest: Shape, smallest: Shape) -> tuple[float, float]:
    """The most tokens of a forward, and those it makes logits for.

    Padded samples make logits from the shortest prompt's end to the longest sample's end.
    """
    whole = largest.prompt + largest.completion
    if params.tokens_per_forward is not None:
        tokens = max(params.tokens_per_forward, whole)
        return tokens, max(tokens * average.completion / (average.prompt + average.completion), largest.completion)
    samples = params.samples_per_forward
    return samples * whole, samples * (whole - (smallest.prompt if samples > 1 else largest.prompt))


def _training(params: SftParams | TgrpoParams, freeze_vision: bool, host: Machine) -> Training:
    rank, experts = (params.lora.rank, params.lora.experts) if params.lora else (None, False)
    vision: VisionTraining = params.lora.vision if params.lora else "frozen" if freeze_vision else "full"
    return Training(params.precision, params.deepspeed, rank, vision, params.gradient_checkpointing, host.gpus, experts)


def advice(params: P, media: Media, spec: FrameSpec, plan: Planner[P], room: float) -> str:
    """Changes that make the plan fit into `room` bytes, the mildest first.

    Each change that saves memory is kept on the way to the next.
    """
    said: list[str] = []
    for text, change in milder(params):
        changed = params.model_copy(update=change)
        if plan(changed, media).memory < plan(params, media).memory:
            params = changed
            said.append(text)
        if plan(params, media).memory <= room:
            return "set " + ", ".join(said)
    for divisor in (2, 4):
        less, fewer = media.of_frames(1 / divisor), [*said, less_video(spec, divisor)]
        if plan(params, less).memory <= room:
            return "set " + ", ".join(fewer)
        if isinstance(params, TgrpoParams):
            shorter = params.model_copy(update={"max_new_tokens": max(1, params.max_new_tokens // 2)})
            if plan(shorter, less).memory <= room:
                return f"set {', '.join(fewer)}, tgrpo.max_new_tokens {shorter.max_new_tokens}"
    changes = ", ".join([*said, "a quarter of the frames"])
    return f"{changes} and half the answer do not make it fit: choose a smaller base.model or larger GPUs"


def milder(params: SftParams | TgrpoParams) -> list[Change]:
    """Changes of parameters that save memory."""
    adapters = {"lora": Lora(rank=16, alpha=32), "deepspeed": None}
    rows: list[Change] = []
    if isinstance(params, SftParams):
        forward = "samples_per_forward" if params.tokens_per_forward is None else "tokens_per_forward"
        stage, frozen = "sft", ("vision_lr_scale", 0.0)
    else:
        stage, forward, frozen = "tgrpo", "questions_per_forward", ("freeze_vision", True)
        of_question = params.group_size + params.contrast_size
        rows = [(f"tgrpo.rollout_rows {of_question}", {"rollout_rows": of_question})]
    named = f"{frozen[0]} {'true' if frozen[1] is True else 0}"
    return [
        *rows,
        (f"{stage}.gradient_checkpointing true", {"gradient_checkpointing": True}),
        (f"{stage}.precision bf16", {"precision": "bf16"}),
        (f"{stage}.{forward} 1", {forward: 1}),
        (f"{stage}.lora {{rank: 16, alpha: 32}}, {named} and deepspeed null", adapters | dict([frozen])),
        *rows,  # again: with adapters the cache of the rollout may be what is largest
    ]


def examine(params: P, media: Media, spec: FrameSpec, planner: Planner[P]) -> str | None:
    """Print the plan; returns advice if it does not fit."""
    plan = planner(params, media)
    log.info(table(plan))
    room = plan.host.usable
    if plan.memory <= room:
        return None
    what = advice(params, media, spec, planner, room)
    return f"{plan.stage} needs {plan.memory / GIB:.1f} GiB per GPU and {room / GIB:.1f} are usable: {what}"


def base_size(base: BaseParams, config: Path | None) -> ModelSize:
    """The base model's sizes, from the given config or the model."""
    if config is not None:
        return model_size(load_config(config))
    if base.model != EMBEDDED:
        try:
            return model_size(load_config(find_model(base.model, base.revision, ["config.json"])))
        except UserError as error:
            raise UserError(f"{error}; pass its config.json with --config") from error
    with TemporaryDirectory() as folder:
        write_tiny(Path(folder), corpus(np.random.default_rng(base.seed), CORPUS_LINES), base.seed, base.prompt)
        return model_size(load_config(Path(folder)))


def plan_probe(params: ProbeParams, size: ModelSize, media: Media, questions: int | None, host: Machine) -> str:
    """A line about the probe's hours, with answers of full length."""
    blind = sum(order == "blind" for order in params.orders)
    framed = sum(1 if order == "ordered" else media.videos for order in params.orders if order != "blind")
    weight = 2 if params.precision == "bf16" else 4
    seconds = asking_seconds(
        size, media, host, host.mfu("tgrpo"), TEXT_TOKENS, params.max_new_tokens, params.answers,
        params.batch_tokens, weight, framed, blind,
    )  # fmt: skip
    if questions is None:
        return f"probe on 1 x {host.name}: about {seconds:.3g} s for each RL question"
    return f"probe on 1 x {host.name}: {questions:,} RL questions, about {questions * seconds / 3600:.3g} h"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m stages.plan", description="What SFT and T-GRPO would need.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file")
    parser.add_argument("--device", help=f"cpu, {', '.join(DEVICES)} (default: this machine's own)")
    parser.add_argument("--gpus", type=int, help="how many of them (default: those here, or 1)")
    parser.add_argument("--config", type=Path, help="the base model's config.json, where it cannot be fetched")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the training sets, if they exist")
    parser.add_argument("--samples", type=int, help="SFT samples, before the training set exists")
    parser.add_argument("--mfu", type=float, help=f"share of the peak that arithmetic reaches (on a GPU: {MFU})")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Plan both stages; UserError that names everything that cannot work."""
    chosen = parse(arguments)
    file: Path = chosen.params
    base, frames = load_params(BaseParams, "base", file), load_params(FramesParams, "frames", file)
    sft, tgrpo = load_params(SftParams, "sft", file), load_params(TgrpoParams, "tgrpo", file)
    completion = load_params(FilterParams, "filter", file).max_tokens
    size = base_size(base, chosen.config)
    log.info(f"{base.model}: {described(size)}")
    sft_media, found = training_media(chosen.data, "sft.parquet", frames, size)
    rl_media, rl_questions = training_media(chosen.data, "rl.parquet", frames, size)

    def host(params: SftParams | TgrpoParams) -> Machine:
        return machine(chosen.device, chosen.gpus, params.threads)

    def sft_plan(params: SftParams, media: Media) -> Plan:
        here = host(params)
        return plan_sft(params, size, media, completion, found or chosen.samples, here, chosen.mfu or here.mfu("sft"))

    def tgrpo_plan(params: TgrpoParams, media: Media) -> Plan:
        here = host(params)
        return plan_tgrpo(params, size, media, here, chosen.mfu or here.mfu("tgrpo"))

    refusals = [
        examine(sft, sft_media, frames, sft_plan),
        examine(tgrpo, rl_media, frames, tgrpo_plan),
    ]
    if (probe := load_params(ProbeParams, "probe", file)).models and probe.engine == "transformers":
        log.info(plan_probe(probe, size, rl_media, rl_questions, machine(chosen.device, 1, probe.threads)))
    if any(refusals):
        raise UserError("; ".join(text for text in refusals if text))


if __name__ == "__main__":
    tool("plan", main)
