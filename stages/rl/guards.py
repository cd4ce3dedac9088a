"""Health guards: stop a run that has gone wrong before it wastes hours, with one line that says what to change."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from stages.run.params import Params


class Guards(Params):
    """Thresholds on means over the last `window` steps."""

    window: int = Field(default=10, ge=1)
    max_truncated: float = Field(default=0.5, ge=0, le=1)
    max_zero_variance: float = Field(default=0.95, ge=0, le=1)
    min_format: float = Field(default=0.2, ge=0, le=1)
    max_kl: float = Field(default=5.0, gt=0)


def trip(history: Sequence[Mapping[str, float]], guards: Guards) -> str | None:
    """What is wrong and what to change, or None while the run is healthy or shorter than the window.

    `history` has one row per step, with the names of plots/tgrpo.csv.
    """
    if len(history) < guards.window:
        return None
    mean = {
        name: sum(row[name] for row in history[-guards.window :]) / guards.window
        for name in ("truncated", "zero_variance", "format", "kl")
    }
    span = f"over the last {guards.window} steps"
    if mean["truncated"] > guards.max_truncated:
        return f"{mean['truncated']:.0%} of the responses were cut off {span}: raise tgrpo.max_new_tokens"
    if mean["zero_variance"] > guards.max_zero_variance:
        return f"{mean['zero_variance']:.0%} of the groups had no reward variance {span}: choose other questions or raise tgrpo.group_size"
    if mean["format"] < guards.min_format:
        return f"only {mean['format']:.0%} of the responses were well formed {span}: lower tgrpo.learning_rate or train SFT longer"
    if mean["kl"] > guards.max_kl:
        return (
            f"the KL to the reference was {mean['kl']:.3g} {span}: lower tgrpo.learning_rate or raise tgrpo.loss.beta"
        )
    return None
