"""The plan of a stage: its needs and its hours."""

from dataclasses import dataclass

from stages.model.optimisation import Optimisation
from stages.planning import memory
from stages.planning.machine import CPU, Machine
from stages.planning.memory import Training
from stages.planning.size import ModelSize

GIB = 2**30
WRITE_SPEED = 1e9  # bytes per second to a local NVMe disk; a shared folder is often slower


@dataclass(frozen=True)
class Storage:
    """Bytes of a checkpoint and of the trained model.

    It also has the steps between checkpoints and how many are kept.
    """

    checkpoint: float
    model: float
    save_steps: int
    save_total_limit: int

    @property
    def disk(self) -> float:
        """Bytes of all checkpoints, and of the model and its copy.

        There is one checkpoint more than are kept. The copy is in DVC's cache.
        """
        return (self.save_total_limit + 1) * self.checkpoint + 2 * self.model

    @property
    def seconds(self) -> float:
        """Time to write a checkpoint, at `WRITE_SPEED`."""
        return self.checkpoint / WRITE_SPEED


@dataclass(frozen=True)
class Plan:
    """What one stage needs on a machine.

    `states` and `phases` are bytes per GPU by part. Phases follow each other, so only the largest counts. `features`
    are bytes of CPU memory per process. `tokens` and `seconds` are those of one step. `servers` is the number of
    those that draw the responses.
    """

    stage: str
    host: Machine
    states: dict[str, float]
    phases: dict[str, float]
    features: float
    tokens: float
    steps: int
    seconds: float
    storage: Storage
    servers: int = 0

    @property
    def memory(self) -> float:
        """Peak bytes per GPU; on a CPU kept features count too."""
        return sum(self.states.values()) + max(self.phases.values()) + (self.features if self.host.name == CPU else 0)


def storage(params: Optimisation, size: ModelSize, how: Training) -> Storage:
    """What a training with these parameters leaves on the disk."""
    model = float(size.total * how.weight)
    return Storage(checkpoint(size, how), model, params.save_steps, params.save_total_limit)


def checkpoint(size: ModelSize, how: Training) -> float:
    """Bytes of a checkpoint: weights and optimizer.

    Adapters come without the frozen weights. With DeepSpeed the optimizer holds fp32 weights too. ZeRO-2 adds all
    weights in the precision of the computation, ZeRO-3 only those that are frozen.
    """
    trained = how.trainable(size)
    if how.zero is None:
        return trained * memory.ADAM + (trained * 4 if how.lora_rank is not None else size.total * how.weight)
    frozen = 0 if how.lora_rank is not None else size.total - trained
    return trained * (4 + memory.ADAM) + (frozen + (trained if how.zero == 2 else 0)) * how.element


def table(plan: Plan) -> str:
    """The plan as text for a person."""
    parts = {**plan.states, **plan.phases, "kept vision features, CPU memory": plan.features}
    rows = [f"  {name:<34}{size / GIB:9.2f} GiB" for name, size in parts.items() if size]
    drawn = f"  {plan.servers} servers draw the responses: their memory and the time of drawing come on top"
    kept = plan.storage
    hours = plan.steps * plan.seconds / 3600
    return "\n".join(
        [
            f"{plan.stage} on {plan.host.gpus} x {plan.host.name}, {plan.host.memory / GIB:.0f} GiB each",
            *rows,
            f"  {'peak per GPU, of usable':<34}{plan.memory / GIB:9.2f} of {plan.host.usable / GIB:.2f} GiB",
            f"  {plan.tokens:,.0f} tokens per step at most, {plan.steps:,} steps, "
            f"about {plan.seconds:.3g} s each: {hours:.3g} h",
            f"  a checkpoint of {kept.checkpoint / GIB:.3g} GiB every {kept.save_steps} steps: {kept.seconds:.3g} s at "
            f"{WRITE_SPEED / 1e9:.0f} GB/s, {kept.seconds / (kept.save_steps * plan.seconds):.2g} of the steps' time",
            f"  {kept.disk / GIB:.3g} GiB of disk for {kept.save_total_limit} checkpoints, the one being written, "
            "and the model",
            *([drawn] if plan.servers else []),
        ]
    )
