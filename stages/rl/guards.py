"""Guards: they stop a run that has gone wrong."""

from collections.abc import Sequence

from pydantic import Field

from stages.rl.metrics import Figure, StepRow
from stages.run.params import Params


class Guards(Params):
    """Thresholds on means over the last `window` steps."""

    window: int = Field(default=10, ge=1, description="steps over which the means are taken")
    max_truncated: float = Field(
        default=0.5, ge=0, le=1, description="most responses, as a share, that may be cut off at max_new_tokens"
    )
    max_zero_variance: float = Field(
        default=0.95, ge=0, le=1, description="most groups, as a share, whose rewards may all be equal"
    )
    min_format: float = Field(default=0.2, ge=0, le=1, description="fewest responses, as a share, in the right format")
    max_kl: float = Field(default=5.0, gt=0, description="highest KL to the reference, in nats per token")
    max_sampling_kl: float = Field(
        default=0.05,
        gt=0,
        description="highest KL between the policy as it was sampled and as it is scored, in nats per token",
    )


def trip(history: Sequence[StepRow], guards: Guards) -> str | None:
    """What is wrong and what to change, or None.

    None also for a run that is shorter than the window. `history` has one row per step.
    """
    if len(history) < guards.window:
        return None
    last = history[-guards.window :]
    span = f"over the last {guards.window} steps"

    def _mean(name: Figure) -> float:
        return sum(row[name] for row in last) / guards.window

    if (truncated := _mean("truncated")) > guards.max_truncated:
        return f"{truncated:.0%} of the responses were cut off {span}: raise tgrpo.max_new_tokens"
    if (equal := _mean("zero_variance")) > guards.max_zero_variance:
        return (
            f"all rewards were equal in {equal:.0%} of the groups {span}: "
            "choose other questions or raise tgrpo.group_size"
        )
    if (well_formed := _mean("format")) < guards.min_format:
        return (
            f"only {well_formed:.0%} of the responses had the right format {span}: "
            "lower tgrpo.learning_rate or train SFT longer"
        )
    if (kl := _mean("kl")) > guards.max_kl:
        return f"the KL to the reference was {kl:.3g} {span}: lower tgrpo.learning_rate or raise tgrpo.loss.beta"
    if (kl := _mean("sampling_kl")) > guards.max_sampling_kl:
        return (
            f"the KL between the sampled and the scored policy was {kl:.3g} {span}: set tgrpo.precision to fp32, "
            "or tgrpo.loss.importance_sampling_mode to token_truncate and raise tgrpo.guards.max_sampling_kl"
        )
    return None
