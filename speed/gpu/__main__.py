"""The command line of the measurements."""

import argparse
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from speed.gpu import parts
from speed.gpu.data import LENGTHS, Lengths, Size, write_model, write_questions
from speed.gpu.table import HEADER, Limits, Row, as_json
from stages.planning.machine import machine

log = logging.getLogger(__name__)


def agreement(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """Sampling against scoring."""
    for precision in ("bf16", "fp32"):
        found = parts.agreement(bench, precision)
        yield Row(f"|Δ log p|, scored in {precision}", "nats per token", found["logp_difference"])
        yield Row(f"KL, scored in {precision}", "nats per token", found["kl"])


def sft(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """SFT with adapters."""
    params = parts.sft_params()
    found, (planned, planned_gib) = parts.sft(bench, params), limits.planned_sft(params)
    speed = found["tokens_per_second"]
    yield Row("SFT, adapters", "tokens/s", speed, limits.sft(), planned, None, found["gib"], planned_gib)


def decode(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """Decoding of 12 and of 96 rows, and the prefill before it."""
    limit = 1000 * limits.read()
    for questions in (1, 8):
        found = parts.decoding(bench, questions)
        yield Row(f"decoding, {12 * questions} rows", "ms/token", found["milliseconds"], limit, gib=found["gib"])
        parts.free()
    found = parts.prefilling(bench)
    yield Row("prefill, 16 prompts", "s", found["seconds"], limits.prefill(), gib=found["gib"])


def tgrpo(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """The T-GRPO step, and the released way of it."""
    released = 8 * parts.released_step(bench)["seconds"]
    parts.free()
    params = parts.tgrpo_params(bench.lengths, freeze_vision=True)
    found, (planned, planned_gib) = parts.tgrpo(bench, params), limits.planned_tgrpo(params)
    limit = limits.step()
    yield Row("T-GRPO step, adapters", "s", found["seconds"], limit, planned, released, found["gib"], planned_gib)
    for phase in ("questions", "rollout", "reference", "update"):
        yield Row(f"  of it: {phase}", "s", found[f"seconds_{phase}"])
    yield Row("  |Δ log p|", "nats per token", found["sampling_logp_difference"])
    if "gpu_idle" in found:
        yield Row("  idle share of the GPU", "", found["gpu_idle"])


def vision(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """The T-GRPO step without adapters, vision frozen and trained."""
    for freeze_vision in (True, False):
        params = parts.tgrpo_params(bench.lengths, freeze_vision).model_copy(update={"lora": None})
        found, (planned, gib) = parts.tgrpo(bench, params), limits.planned_tgrpo(params)
        name = f"T-GRPO step, vision {'frozen' if freeze_vision else 'trained'}"
        yield Row(name, "s", found["seconds"], limits.step(), planned, None, found["gib"], gib)
        parts.free()


Part = Callable[[parts.Bench, Limits], Iterator[Row]]
PARTS: dict[str, Part] = {"agreement": agreement, "sft": sft, "decode": decode, "tgrpo": tgrpo, "vision": vision}


def run(size: Size, chosen: list[str], lengths: Lengths, folder: Path) -> list[Row]:
    """Measure the chosen parts of one size."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    host = machine(None, 1, torch.get_num_threads())
    write_model(folder / "model", size, device.type)
    samples, reader = write_questions(folder, lengths)
    bench = parts.Bench(folder / "model", samples, reader, lengths, device, folder / "work")
    tokens = len(bench.questions()[0].ordered.ids_P)
    visual = int((bench.questions()[0].ordered.ids_P == bench.builder.config.video_token_id).sum())
    limits = Limits.of(folder / "model", replace(lengths, prompt=tokens), visual, host)
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else "cpu"
    log.info("%s on %s: prompts of %d tokens, completions of %d", size, name, tokens, lengths.completion)
    log.info(HEADER)
    rows: list[Row] = []
    for chosen_part in chosen:
        parts.free()
        for row in PARTS[chosen_part](bench, limits):
            log.info(row.text())
            rows.append(row)
    return rows


def main() -> None:
    """Measure, and print a table for each size."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(description="SFT, decoding and the T-GRPO step on a GPU.")
    parser.add_argument("--sizes", nargs="+", choices=get_args(Size), default=["7b"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["agreement", "sft", "decode", "tgrpo"])
    parser.add_argument("--completion", type=int, help="tokens of a completion, in place of the size's own")
    arguments = parser.parse_args()
    found = {}
    for size in arguments.sizes:
        lengths = LENGTHS[size]
        if arguments.completion:
            lengths = replace(lengths, completion=arguments.completion)
        with tempfile.TemporaryDirectory() as folder:
            found[size] = as_json(run(size, arguments.parts, lengths, Path(folder)))
    log.info(json.dumps(found))


if __name__ == "__main__":
    main()
