"""The plan of a stage: its needs and its hours."""

from dataclasses import dataclass

from stages.planning import memory
from stages.planning.machine import CPU, Machine
from stages.planning.memory import Training
from stages.planning.size import ModelSize

CHECKPOINTS = 3  # two are kept while the third is written
GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """What one stage needs on a machine.

    `states` and `phases` are bytes per GPU by part. Phases follow each other, so only the largest counts. `features`
    are bytes of CPU memory per process. `tokens` and `seconds` are those of one step, `disk` is in bytes. `servers` is
    the number of those that draw the responses.
    """

    stage: str
    host: Machine
    states: dict[str, float]
    phases: dict[str, float]
    features: float
    tokens: float
    steps: int
    seconds: float
    disk: float
    servers: int = 0

    @property
    def memory(self) -> float:
        """Peak bytes per GPU; on a CPU kept features count too."""
        return sum(self.states.values()) + max(self.phases.values()) + (self.features if self.host.name == CPU else 0)


def disk(size: ModelSize, how: Training) -> float:
    """Bytes of checkpoints, of the model and of its copy in DVC."""
    master = 4 if how.zero is not None and how.lora_rank is None else 0
    weights = how.trainable(size) * (4 if how.lora_rank is not None else how.weight)
    optimizer = how.trainable(size) * (memory.ADAM + master)
    return CHECKPOINTS * (weights + optimizer) + 2 * size.total * how.weight


def table(plan: Plan) -> str:
    """The plan as text for a person."""
    parts = {**plan.states, **plan.phases, "kept vision features, CPU memory": plan.features}
    rows = [f"  {name:<34}{size / GIB:9.2f} GiB" for name, size in parts.items() if size]
    drawn = f"  {plan.servers} servers draw the responses: their memory and the time of drawing come on top"
    hours = plan.steps * plan.seconds / 3600
    return "\n".join(
        [
            f"{plan.stage} on {plan.host.gpus} x {plan.host.name}, {plan.host.memory / GIB:.0f} GiB each",
            *rows,
            f"  {'peak per GPU, of usable':<34}{plan.memory / GIB:9.2f} of {plan.host.usable / GIB:.2f} GiB",
            f"  {plan.tokens:,.0f} tokens per step at most, {plan.steps:,} steps, "
            f"about {plan.seconds:.3g} s each: {hours:.3g} h",
            f"  {plan.disk / GIB:.3g} GiB of disk for checkpoints and the model",
            *([drawn] if plan.servers else []),
        ]
    )
