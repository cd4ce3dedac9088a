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
from speed.gpu.table import HEADER, Limits, Row, RowValues, as_json
from stages.model.adapters import VisionTraining
from stages.planning.machine import machine
from stages.run.files import read_json, write_atomic

log = logging.getLogger(__name__)

VISION: tuple[VisionTraining, ...] = ("frozen", "full", "adapters")


def agreement(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """Sampling against scoring."""
    for precision in ("bf16", "fp32"):
        found = parts.agreement(bench, precision)
        yield Row(f"|Δ log p|, scored in {precision}", "nats per token", found["logp_difference"])
        yield Row(f"KL, scored in {precision}", "nats per token", found["kl"])


def sft(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """SFT with adapters; again with vision features kept from step to step."""
    for name, gib in (("SFT, adapters", 0.0), ("SFT, adapters, features kept", 1.0)):
        params = parts.sft_params(gib)
        found, (planned, planned_gib) = parts.sft(bench, params), limits.planned_sft(params)
        speed = found["tokens_per_second"]
        yield Row(name, "tokens/s", speed, limits.sft(), planned, None, found["gib"], planned_gib)
        parts.free()


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
    params = parts.tgrpo_params(bench.lengths, "frozen")
    found, (planned, planned_gib) = parts.tgrpo(bench, params), limits.planned_tgrpo(params)
    limit = limits.step()
    yield Row("T-GRPO step, adapters", "s", found["seconds"], limit, planned, released, found["gib"], planned_gib)
    for name, seconds in found.items():
        if name.startswith("seconds_"):
            yield Row(f"  of it: {name.removeprefix('seconds_')}", "s", seconds)
    yield Row("  |Δ log p|", "nats per token", found["sampling_logp_difference"])
    if "gpu_idle" in found:
        yield Row("  idle share of the GPU", "", found["gpu_idle"])


def vision(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """The T-GRPO step with adapters, the vision tower trained in either way."""
    for training in VISION:
        yield step(bench, limits, f"T-GRPO step, adapters, vision {training}", training, lora=True)


def full(bench: parts.Bench, limits: Limits) -> Iterator[Row]:
    """The T-GRPO step without adapters."""
    for training in VISION[:2]:
        yield step(bench, limits, f"T-GRPO step, full, vision {training}", training, lora=False)


def step(bench: parts.Bench, limits: Limits, name: str, training: VisionTraining, lora: bool) -> Row:
    """The T-GRPO step of one way to train, against its plan."""
    params = parts.tgrpo_params(bench.lengths, training, lora)
    found, (planned, gib) = parts.tgrpo(bench, params), limits.planned_tgrpo(params)
    parts.free()
    return Row(name, "s", found["seconds"], limits.step(), planned, None, found["gib"], gib)


Part = Callable[[parts.Bench, Limits], Iterator[Row]]
PARTS: dict[str, Part] = {
    "agreement": agreement, "tgrpo": tgrpo, "decode": decode, "vision": vision, "sft": sft, "full": full,
}  # fmt: skip
Found = dict[str, dict[str, dict[str, RowValues]]]  # by size, part and name of the row


def run(size: Size, chosen: list[str], lengths: Lengths, folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Measure the chosen parts of one size, one after the other."""
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
    for part in chosen:
        parts.free()
        rows: list[Row] = []
        for row in PARTS[part](bench, limits):
            log.info(row.text())
            rows.append(row)
        yield part, rows


def main() -> None:
    """Measure, and print a table for each size."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(description="SFT, decoding and the T-GRPO step on a GPU.")
    parser.add_argument("--sizes", nargs="+", choices=get_args(Size), default=["7b"])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["agreement", "tgrpo", "decode", "vision"])
    parser.add_argument("--out", type=Path, help="JSON file of the rows; parts that it has are not measured again")
    parser.add_argument("--completion", type=int, help="tokens of a completion, in place of the size's own")
    arguments = parser.parse_args()
    found: Found = read_json(arguments.out) if arguments.out and arguments.out.exists() else {}
    for size in arguments.sizes:
        lengths = LENGTHS[size]
        if arguments.completion:
            lengths = replace(lengths, completion=arguments.completion)
        measured = found.setdefault(size, {})
        missing = [part for part in arguments.parts if part not in measured]
        with tempfile.TemporaryDirectory() as folder:
            for part, rows in run(size, missing, lengths, Path(folder)) if missing else ():
                measured[part] = as_json(rows)
                if arguments.out:
                    write_atomic(arguments.out, json.dumps(found))
    log.info(json.dumps(found))


if __name__ == "__main__":
    main()
