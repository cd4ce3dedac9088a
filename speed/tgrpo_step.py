"""One T-GRPO step, the released code's way against this project's, on the same weights in one process.

    python -m speed.tgrpo_step [CASE…]        (default: all but quick)
    python -m speed.tgrpo_step --growth       (does measured cost follow the cost model as G, P and C grow?)

The peer is the released trainer rewritten for current transformers: two `generate` calls that prefill each of their rows, then every
completion scored in a row of its own with the video encoded once per row and logits over the whole sequence, for the policy and for the
reference. Both train the vision tower, on a random Qwen2.5-VL of 30 M parameters in fp32 and one thread, with 8 ordered and 4 shuffled
responses. The peer decodes as many tokens as this project did, and scores and trains on this project's responses, so that loss and gradient
must agree; that is asserted. Every case runs twice: for its CPU seconds, and then for its memory, the peak of the resident set above the
start of a phase, in a process whose malloc gives every larger block back at once, so that tensors are counted and not what malloc keeps
(Linux, glibc). The last line is one JSON object.
"""

import argparse
import copy
import ctypes
import gc
import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from stages.data.sample import Sample
from stages.embedded.tiny import build_tokenizer
from stages.generation.generate import Sampling
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import PIPELINE_FILE, load_config
from stages.planning.size import ModelSize, model_size
from stages.planning.work import Shape, decode, encode, prefill, score_group, trained
from stages.rl.loss import LossParams, StepSize, policy_loss
from stages.rl.rollout import Group, RolloutQuestion, roll_out
from stages.rl.scoring import pack, score, use_group_prefix_attention
from stages.rl.vision import pixel_media
from stages.run.files import write_json
from stages.video.frame_store import Frames
from stages.video.order import permutation

log = logging.getLogger(__name__)

CONTRAST, TOP_P = 4, 0.95
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}  # bytes, see mallopt(3)
FRAME_HEIGHT, FRAME_WIDTH, FPS = 224, 448, 4.0  # 128 merged tokens per pair of frames, one position in time per pair
VOCABULARY = 12_000
STOP_EVERY = 140  # mean tokens until the random model ends a ragged response; cut at 256 they are 117 long
RULES = LossParams(beta=0.04)


@dataclass(frozen=True)
class Case:
    """A size of the step: frames, prompt tokens P (text fills up what vision leaves) and the most completion tokens C."""

    frames: int
    prompt: int
    completion: int
    checkpointing: bool = False
    ragged: bool = False
    group: int = 8


CASES = {
    "p762-c128": Case(frames=10, prompt=762, completion=128),
    "p1186-c256": Case(frames=16, prompt=1186, completion=256, checkpointing=True),
    "ragged": Case(frames=16, prompt=1186, completion=256, checkpointing=True, ragged=True),
    "quick": Case(frames=2, prompt=180, completion=12, group=4),
}


GROWTH = {  # for the cost model
    "base": Case(frames=6, prompt=480, completion=48, group=4),
    "G x 2": Case(frames=6, prompt=480, completion=48, group=8),
    "G x 4": Case(frames=6, prompt=480, completion=48, group=16),
    "P x 2": Case(frames=12, prompt=960, completion=48, group=4),
    "P x 4": Case(frames=24, prompt=1920, completion=48, group=4),
    "C x 2": Case(frames=6, prompt=480, completion=96, group=4),
    "C x 4": Case(frames=6, prompt=480, completion=192, group=4),
}


@dataclass
class Cost:
    """CPU seconds and peak megabytes of each phase of one way to make the step."""

    seconds: dict[str, float] = field(default_factory=dict)
    megabytes: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from the present
        before, begin = resident("VmRSS"), time.process_time()
        yield
        self.seconds[phase] = time.process_time() - begin
        self.megabytes[phase] = (resident("VmHWM") - before) / 1024

    @property
    def step(self) -> float:
        return sum(self.seconds.values())


def resident(name: str) -> int:
    """Kilobytes of this process's memory, now (VmRSS) or at most since the last reset (VmHWM)."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def write_model(folder: Path) -> None:
    """A random Qwen2.5-VL of 30 M parameters with a small tokenizer: the sizes of patches and frames are the real ones."""
    tokenizer = build_tokenizer(["Which way does it move, one two three?\nA. left\nB. right"])
    ids = tokenizer.get_vocab()
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": VOCABULARY,
                "hidden_size": 512,
                "intermediate_size": 1376,
                "num_hidden_layers": 8,
                "num_attention_heads": 8,
                "num_key_value_heads": 2,
                "max_position_embeddings": 4096,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [8, 12, 12]},
                "bos_token_id": None,
                "eos_token_id": ids["<|im_end|>"],
            },
            vision_config={
                "depth": 3,
                "hidden_size": 192,
                "intermediate_size": 384,
                "num_heads": 4,
                "out_hidden_size": 512,
                "patch_size": 14,
                "fullatt_block_indexes": [1],
                "window_size": 112,
                "tokens_per_second": 2,
            },
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / PIPELINE_FILE, {"prompt": "plain"})
    write_json(folder / "preprocessor_config.json", {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]})


def question(builder: PromptBuilder, case: Case) -> RolloutQuestion:
    """A clip of noise with a text that makes the prompt exactly as long as the case wants."""
    pixels = np.random.default_rng(0).integers(0, 256, (case.frames, FRAME_HEIGHT, FRAME_WIDTH, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(case.frames), np.arange(case.frames) / FPS, FPS)

    def ask(words: int, order_T: np.ndarray | None = None) -> Prompt:
        return builder(sample(" one" * words), frames, order_T)

    words = case.prompt - len(ask(0).ids_P)
    ordered = ask(words)
    assert len(ordered.ids_P) == case.prompt, f"prompt of {len(ordered.ids_P)} tokens"
    return RolloutQuestion(sample(""), ordered, ask(words, permutation(case.frames, "shuffled", "clip")))


def sample(problem: str) -> Sample:
    return Sample(
        sample_id="clip",
        source="benchmark",
        data_type="video",
        problem_type="free-form",
        problem=f"Which way does it move?{problem}",
        options=(),
        answer="left",
        process=None,
        media_path="clip.mp4",
        media_sha256="0" * 64,
    )


# This project's way


def roll_out_here(model: Any, builder: PromptBuilder, asked: RolloutQuestion, case: Case) -> Group:
    sampling = Sampling(case.completion, 1.0, TOP_P)
    (group,) = roll_out(model, builder, [asked], case.group, CONTRAST, sampling, seed=0, step=0, share_features=False)
    return group


def reference_here(reference: Any, builder: PromptBuilder, group: Group) -> Tensor:
    prompts = [group.question.ordered]
    packed = pack(prompts, [[response.ids_C for response in group.ordered]])
    with torch.no_grad():
        return score(reference, packed, pixel_media(builder, prompts, reference.device), 1.0).logps_RC


def loss_here(
    model: Any, builder: PromptBuilder, group: Group, reference_RC: Tensor, advantages_R: Tensor, case: Case
) -> Tensor:
    prompts = [group.question.ordered]
    packed = pack(prompts, [[response.ids_C for response in group.ordered]])
    logps_RC = score(model, packed, pixel_media(builder, prompts, model.device), 1.0).logps_RC
    size = StepSize(len(logps_RC), len(packed.targets_N))
    return policy_loss(
        logps_RC, logps_RC.detach(), reference_RC, advantages_R, packed.mask_RC, RULES, size, case.completion
    )[0]


# The released code's way


class EndAt(LogitsProcessor):
    """Lets row r end at its own length, so that both ways decode the same number of tokens."""

    def __init__(self, prompt: int, lengths: Sequence[int], end_id: int) -> None:
        self.prompt, self.lengths, self.end_id = prompt, lengths, end_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]  # plain tensors
        produced = input_ids.shape[1] - self.prompt + 1
        ends_R = torch.tensor([produced == length for length in self.lengths])
        scores[:, self.end_id] = -torch.inf
        scores[ends_R] = torch.full_like(scores[ends_R], -torch.inf).index_fill(1, torch.tensor([self.end_id]), 0.0)
        return scores


def model_inputs(builder: PromptBuilder, prompt: Prompt) -> dict[str, Tensor]:
    """What the family's processor gives for a video prompt."""
    inputs = builder.normalised(builder.batch([prompt]))
    del inputs["position_ids"]
    is_video_1P = (inputs["input_ids"] == builder.config.video_token_id).int()
    return inputs | {"mm_token_type_ids": 2 * is_video_1P, "second_per_grid_ts": torch.tensor([2 / FPS])}


def roll_out_there(model: Any, builder: PromptBuilder, group: Group, case: Case) -> None:
    assert group.question.contrast is not None
    for prompt, responses in ((group.question.ordered, group.ordered), (group.question.contrast, group.contrast)):
        lengths = [len(response.ids_C) if not response.truncated else case.completion + 1 for response in responses]
        ids_RL = model.generate(
            **model_inputs(builder, prompt),
            num_return_sequences=len(responses),
            do_sample=True,
            temperature=1.0,
            top_p=TOP_P,
            max_new_tokens=case.completion,
            eos_token_id=builder.end_id,
            pad_token_id=builder.pad_id,
            suppress_tokens=builder.banned_ids,
            logits_processor=[EndAt(case.prompt, lengths, builder.end_id)],
        )
        assert ids_RL.shape[1] - case.prompt == max(len(response.ids_C) for response in responses)


def logps_there(model: Any, builder: PromptBuilder, group: Group) -> tuple[Tensor, Tensor]:
    """Log-probabilities [R, C] of the ordered responses, one row each, and their mask."""
    ids_RC = torch.nn.utils.rnn.pad_sequence(
        [response.ids_C for response in group.ordered], batch_first=True, padding_value=builder.pad_id
    )
    lengths_R = torch.tensor([len(response.ids_C) for response in group.ordered])
    mask_RC = torch.arange(ids_RC.shape[1]) < lengths_R[:, None]
    inputs, R = model_inputs(builder, group.question.ordered), len(ids_RC)
    ids_RL = torch.cat([inputs["input_ids"].expand(R, -1), ids_RC], dim=1)
    logits_RLV = model(
        input_ids=ids_RL,
        attention_mask=torch.cat([inputs["attention_mask"].expand(R, -1), mask_RC.int()], dim=1),
        mm_token_type_ids=torch.cat(
            [inputs["mm_token_type_ids"].expand(R, -1), torch.zeros_like(ids_RC, dtype=torch.int)], dim=1
        ),
        pixel_values_videos=inputs["pixel_values_videos"].repeat(R, 1),
        video_grid_thw=inputs["video_grid_thw"].repeat(R, 1),
        second_per_grid_ts=inputs["second_per_grid_ts"].repeat(R),
        use_cache=False,
    ).logits[:, :-1]
    rows = [
        logits_LV.log_softmax(dim=-1).gather(1, ids_L[:, None])[:, 0]
        for logits_LV, ids_L in zip(logits_RLV, ids_RL[:, 1:], strict=True)
    ]
    return torch.stack(rows)[:, inputs["input_ids"].shape[1] - 1 :], mask_RC


def loss_there(model: Any, builder: PromptBuilder, group: Group, reference_RC: Tensor, advantages_R: Tensor) -> Tensor:
    logps_RC, mask_RC = logps_there(model, builder, group)
    x_RC = (reference_RC - logps_RC).clamp(-10, 10)
    kl_RC = x_RC.exp() - x_RC - 1
    losses_RC = -((logps_RC - logps_RC.detach()).exp() * advantages_R[:, None] - RULES.beta * kl_RC)
    return ((losses_RC * mask_RC).sum(dim=1) / mask_RC.sum(dim=1)).mean()


# Both


@dataclass
class Run:
    """This project's step: the models and question it ran on, what it sampled and computed, and what that cost."""

    builder: PromptBuilder
    model: Any
    reference: Any
    advantages_R: Tensor
    cost: Cost = field(default_factory=Cost)

    def __call__(self, case: Case) -> tuple[Group, Tensor, Tensor]:
        """The sampled group, the reference's log-probabilities and the loss, whose gradient is in the model."""
        asked = question(self.builder, case)
        with self.cost.measure("rollout"):
            group = roll_out_here(self.model, self.builder, asked, case)
        with self.cost.measure("reference"):
            reference_RC = reference_here(self.reference, self.builder, group)
        self.model.train()
        with self.cost.measure("policy"):
            loss = loss_here(self.model, self.builder, group, reference_RC, self.advantages_R, case)
            loss.backward()
        self.model.eval()
        return group, reference_RC, loss.detach()


def prepare(folder: Path, case: Case) -> Run:
    """Policy and reference for a case."""
    builder = PromptBuilder(folder)
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
    reference = perturbed(model)
    for each in (model, reference):
        each.lm_head.bias = torch.nn.Parameter(stop_bias(builder, case), requires_grad=False)
        use_group_prefix_attention(each)
    if case.checkpointing:
        model.activation_checkpointing_enable()
    return Run(builder, model, reference, torch.randn(case.group, generator=torch.Generator().manual_seed(0)))


@dataclass(frozen=True)
class Comparison:
    """What a step cost either way, tokens per response in the mean, and how far the two ways are apart."""

    here: Cost
    there: Cost
    mean_completion: float
    agreement: dict[str, float]


def compare(folder: Path, case: Case) -> Comparison:
    """Both ways through one step; AssertionError unless they agree on log-probabilities, loss and gradient."""
    run = prepare(folder, case)
    builder, model, reference = run.builder, run.model, run.reference
    group, reference_here_RC, own_loss = run(case)
    ours, there = flat_gradient(model), Cost()
    for each in (model, reference):
        each.set_attn_implementation("sdpa")
    model.zero_grad(set_to_none=True)
    with there.measure("rollout"), torch.no_grad():
        roll_out_there(model, builder, group, case)
    with there.measure("reference"), torch.no_grad():
        reference_there_RC, mask_RC = logps_there(reference, builder, group)
    model.train()
    with there.measure("policy"):
        loss = loss_there(model, builder, group, reference_there_RC, run.advantages_R)
        loss.backward()
    theirs = flat_gradient(model)
    logps = (reference_here_RC * mask_RC, reference_there_RC * mask_RC)
    mean_completion = sum(len(response.ids_C) for response in group.ordered) / len(group.ordered)
    return Comparison(
        run.cost, there, mean_completion, agreement(logps, (own_loss.item(), loss.item()), (ours, theirs))
    )


# The cost model


def predicted(case: Case, size: ModelSize) -> dict[str, float]:
    """Operations of each phase of this project's step (stages/planning/work.py)."""
    grids = case.frames / 2
    shape = Shape(case.prompt, grids * FRAME_HEIGHT * FRAME_WIDTH / 28**2, grids, case.completion)
    scored = score_group(shape, case.group) + encode(shape, size)
    rolled = (prefill(shape) + encode(shape, size)) * 2 + decode(shape, case.group + CONTRAST)
    return {
        "rollout": rolled.flops(size),
        "reference": scored.flops(size),
        "policy": trained(scored, case.checkpointing).flops(size),
    }


def sweep(folder: Path) -> dict[str, Any]:
    """Measured against predicted growth of the step as G, P and C grow from the first of GROWTH."""
    size, found = model_size(load_config(folder)), {}
    for name, case in GROWTH.items():
        run = prepare(folder, case)
        run(case)
        found[name] = {"seconds": run.cost.seconds, "flops": predicted(case, size)}
    first = found["base"]
    log.info("%24s%30s%30s%30s", "growth: measured (predicted)", "rollout", "reference", "policy")
    for name, figures in found.items():
        growth = {
            phase: [figures[unit][phase] / first[unit][phase] for unit in ("seconds", "flops")]
            for phase in ("rollout", "reference", "policy")
        }
        figures["growth"] = growth
        log.info("%24s" + "%20.2f (%7.2f)" * 3, name, *(value for pair in growth.values() for value in pair))
    return found


def perturbed(model: Any) -> Any:
    """A reference a little away from the policy, so that the KL term has a gradient."""
    generator, reference = torch.Generator().manual_seed(1), copy.deepcopy(model)
    with torch.no_grad():
        for weight in reference.parameters():
            weight += 0.002 * torch.randn(weight.shape, generator=generator)
    return reference.requires_grad_(False)


def stop_bias(builder: PromptBuilder, case: Case) -> Tensor:
    """Added to the logits: the end token is drawn about every STOP_EVERY tokens, or never."""
    return torch.zeros(VOCABULARY).index_fill(
        0, torch.tensor([builder.end_id]), math.log(VOCABULARY / STOP_EVERY) if case.ragged else -1e4
    )


def flat_gradient(model: Any) -> Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def agreement(
    logps: tuple[Tensor, Tensor], losses: tuple[float, float], gradients: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """How far the two ways are apart; AssertionError where that is more than rounding."""
    found = {
        "logp_difference": float((logps[0] - logps[1]).abs().max()),
        "loss_difference": abs(losses[0] - losses[1]),
        "gradient_cosine": float(
            torch.nn.functional.cosine_similarity(*(vector.double() for vector in gradients), dim=0)
        ),
        "gradient_norm_ratio": float(gradients[0].norm() / gradients[1].norm()),
    }
    assert found["logp_difference"] < 1e-4, found
    assert found["loss_difference"] < 1e-4, found
    assert found["gradient_cosine"] > 0.99999, found
    assert abs(found["gradient_norm_ratio"] - 1) < 1e-3, found
    return found


def result(case: Case, timed: Comparison, here: dict[str, float], there: dict[str, float]) -> dict[str, Any]:
    """Figures of one case: seconds of one run, megabytes of another; ratios are the released code's way over this one."""
    phases = ("rollout", "reference", "policy")
    faster = {phase: timed.there.seconds[phase] / timed.here.seconds[phase] for phase in phases}
    smaller = {phase: there[phase] / here[phase] for phase in phases}
    return {
        "case": asdict(case),
        "mean_completion": timed.mean_completion,
        "here": {"seconds": timed.here.seconds, "megabytes": here},
        "there": {"seconds": timed.there.seconds, "megabytes": there},
        "times_faster": faster | {"step": timed.there.step / timed.here.step},
        "times_less_memory": smaller | {"step": max(there.values()) / max(here.values())},
    } | timed.agreement


def report(name: str, figures: dict[str, Any]) -> None:
    log.info("%s: P %d, completions of %.0f tokens", name, figures["case"]["prompt"], figures["mean_completion"])
    log.info("%12s%24s%24s", "", "CPU s, there → here", "peak MB, there → here")
    for phase in ("rollout", "reference", "policy"):
        cells = [(figures["there"][unit][phase], figures["here"][unit][phase]) for unit in ("seconds", "megabytes")]
        ratios = (figures["times_faster"][phase], figures["times_less_memory"][phase])
        (slow, fast), (much, little) = cells
        log.info("%12s%9.2f → %6.2f %5.1f×%9.0f → %6.0f %5.1f×", phase, slow, fast, ratios[0], much, little, ratios[1])
    steps = [sum(figures[way]["seconds"].values()) for way in ("there", "here")]
    peaks = [max(figures[way]["megabytes"].values()) for way in ("there", "here")]
    whole = (figures["times_faster"]["step"], figures["times_less_memory"]["step"])
    log.info("%12s%9.2f → %6.2f %5.1f×%9.0f → %6.0f %5.1f×", "step", *steps, whole[0], *peaks, whole[1])


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(description="One T-GRPO step against the released code's way.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all but quick)")
    parser.add_argument(
        "--growth", action="store_true", help="check the cost model instead: this project's step as G, P and C grow"
    )
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = arguments.cases or [name for name in CASES if name != "quick"]
    if unknown := set(chosen) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        if arguments.growth:
            log.info(json.dumps(sweep(Path(folder))))
            return
        compared = {name: compare(Path(folder), CASES[name]) for name in chosen}
    if arguments.only_memory:
        log.info(
            json.dumps(
                {name: {"here": case.here.megabytes, "there": case.there.megabytes} for name, case in compared.items()}
            )
        )
        return
    command = [sys.executable, "-m", "speed.tgrpo_step", "--only-memory", *chosen]
    child = subprocess.run(command, env=os.environ | GIVING_BACK, stderr=subprocess.PIPE, text=True, check=True)
    sized = json.loads(child.stderr.splitlines()[-1])
    results = {name: result(CASES[name], compared[name], **sized[name]) for name in chosen}
    for name, figures in results.items():
        report(name, figures)
    log.info(json.dumps(results))


if __name__ == "__main__":
    main()
