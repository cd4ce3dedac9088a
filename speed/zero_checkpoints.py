"""Time, disk and memory of a ZeRO-3 checkpoint on other processes.

    python -m speed.zero_checkpoints [--layers 16] [--before 2] [--after 3]

A random Qwen3-VL of 111 M parameters (16 layers) does two steps of SFT on the CPU and saves both. Then the second
checkpoint is removed, and another number of processes goes on from the first. The last line is JSON: of both runs the
seconds, the peak of the memory of all processes and of `.work`, the seconds of the conversion, and the largest
differences of a weight and of the last loss.
"""

import csv
import json
import logging
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

from speed.arguments import parser
from tests.sft_inputs import quick, write_inputs

log = logging.getLogger(__name__)
POLL = 0.5  # seconds
WIDTHS = {"hidden_size": 768, "intermediate_size": 2304, "num_attention_heads": 12, "num_key_value_heads": 4}


def write_model(folder: Path, layers: int) -> int:
    """Replace a tiny Qwen3-VL by a larger one; returns its parameters."""
    config = AutoConfig.from_pretrained(folder)
    text = {**WIDTHS, "head_dim": 64, "num_hidden_layers": layers, "initializer_range": 0.02}
    for name, value in text.items():
        setattr(config.text_config, name, value)
    config.text_config.rope_parameters["mrope_section"] = [12, 10, 10]
    config.vision_config.out_hidden_size = WIDTHS["hidden_size"]
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def train(folder: Path, processes: int) -> dict[str, float]:
    """Run SFT in `folder`.

    Returns its seconds, and peaks of memory and disk in GB."""
    flags = "--samples sft.parquet --frame-store frames --model base --out sft --metrics sft.json --plot sft.csv"
    command = [sys.executable, "-m", "stages.launch", "--processes", str(processes), "sft", *flags.split()]
    started, memory, disk = time.perf_counter(), 0, 0
    with open(folder / "log", "w") as said:
        run = psutil.Popen(command, cwd=folder, stderr=said)
        while run.poll() is None:
            memory = max(memory, sum(map(own_memory, [run, *run.children(recursive=True)])))
            disk = max(disk, sum(map(size, folder.glob(".work/**/*"))))
            time.sleep(POLL)
    if run.returncode:
        sys.exit((folder / "log").read_text())
    seconds = time.perf_counter() - started
    found = {"seconds": round(seconds, 1), "memory_gb": round(memory / 1e9, 2), "work_gb": round(disk / 1e9, 2)}
    converted = re.search(r"converted for another number of processes in (\S+) s", (folder / "log").read_text())
    return found | ({"conversion_seconds": float(converted[1])} if converted else {})


def own_memory(process: psutil.Process) -> int:
    """The bytes of a process; 0 when it has ended.

    What several processes share is shared out among them."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0


def size(path: Path) -> int:
    """The bytes of a file; 0 when it is gone."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def last_loss(folder: Path) -> float:
    """The loss of the last step of the run in `folder`."""
    with open(folder / "sft.csv", newline="") as file:
        return float(list(csv.DictReader(file))[-1]["loss"])


def main() -> None:
    """Measure, and print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("--layers", type=int, default=16)
    arguments.add_argument("--before", type=int, default=2)
    arguments.add_argument("--after", type=int, default=3)
    chosen = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder, "qwen3_vl")
        parameters = write_model(folder / "base", chosen.layers)
        params = quick(deepspeed=3, max_steps=2, save_steps=1, batch_size=6, samples_per_forward=1, learning_rate=1e-4)
        (folder / "params.yaml").write_text(json.dumps({"sft": params.model_dump()}))
        before = train(folder, chosen.before)
        weights, loss = load_file(folder / "sft" / "model.safetensors"), last_loss(folder)
        (last,) = folder.glob(".work/sft/*/*/checkpoint-2")
        shards = sum(map(size, last.rglob("*")))
        shutil.rmtree(last)
        after = train(folder, chosen.after)
        again = load_file(folder / "sft" / "model.safetensors")
        figures = {
            "parameters": parameters,
            "checkpoint_gb": round(shards / 1e9, 2),
            "before": before,
            "after": after,
            "weights": max((again[name] - weight).abs().max().item() for name, weight in weights.items()),
            "loss": abs(last_loss(folder) - loss),
        }
    log.info("%s", json.dumps(figures))


if __name__ == "__main__":
    main()
