"""Steps of a small network in bf16 under DeepSpeed's ZeRO-3, on the CPU.

    python -m tests.bf16_steps CHECKPOINT 2
    python -m tests.bf16_steps CHECKPOINT 3

Transformers lets no CPU train in bf16 under DeepSpeed, so this calls DeepSpeed itself. The first number of processes
does four steps and saves after the second one; another number converts that checkpoint and goes on. The first process
writes the losses to CHECKPOINT/losses-PROCESSES.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from torch import nn

from stages.model.shards import make_universal, restore_groups

SAVED, STEPS, BATCH = 2, 4, 6


def build(processes: int, universal: bool) -> Any:
    """DeepSpeed's engine of a random network, whose optimizer has two groups."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 257), nn.GELU(), nn.Linear(257, 33), nn.Linear(33, 1)).to(torch.bfloat16)
    matrices, vectors = ([each for each in model.parameters() if (each.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": 1.0}, {"params": vectors, "weight_decay": 0.0}]
    config = {
        "train_micro_batch_size_per_gpu": BATCH // processes,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": 3, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "checkpoint": {"load_universal": universal},
    }
    return deepspeed.initialize(model=model, optimizer=torch.optim.AdamW(groups, lr=1e-2), config=config)[0]


def train(engine: Any, step: int) -> float:
    """Do a step with this process's share of the batch; returns the loss of all."""
    batch_BF = torch.randn(BATCH, 64, generator=torch.Generator().manual_seed(step)).to(torch.bfloat16)
    loss = engine(batch_BF.chunk(dist.get_world_size())[dist.get_rank()]).float().square().mean()
    engine.backward(loss)
    engine.step()
    total = loss.detach().clone()
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


def main() -> None:
    """Train, and save or go on."""
    checkpoint, processes = Path(sys.argv[1]), int(sys.argv[2])
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo")
    goes_on = (checkpoint / "latest").exists()
    if goes_on and dist.get_rank() == 0:
        make_universal(checkpoint)
    dist.barrier()
    engine = build(processes, goes_on)
    if goes_on:
        engine.load_checkpoint(str(checkpoint), f"global_step{SAVED}_universal")
        restore_groups(engine.basic_optimizer, checkpoint)
    losses: list[float] = []
    for step in range(SAVED if goes_on else 0, STEPS):
        if step == SAVED and not goes_on:
            engine.save_checkpoint(str(checkpoint), f"global_step{SAVED}")
        losses.append(train(engine, step))
    if dist.get_rank() == 0:
        (checkpoint / f"losses-{processes}.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main()
