"""What the finished runs of experiments/temporal.py say, as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from experiments.evidence import interval
from experiments.temporal_rows import ARMS, BASELINE, FURTHER_ARMS, TESTBEDS, Row

Measure = Callable[[Row], float | None]

COLUMNS: Mapping[str, Measure] = {
    "temporal": lambda row: 100 * row["accuracy"]["ordered"],
    "shuffled": lambda row: 100 * row["accuracy"]["shuffled"],
    "gap": lambda row: 100 * row["accuracy"]["gap"],
    "static": lambda row: 100 * row["accuracy"]["static"],
    "all": lambda row: 100 * row["accuracy"]["all"],
    "looks": lambda row: 100 * row["looks"],
    "answers change": lambda row: 100 * row["answers_change"],
    "effect": lambda row: row["steps"].get("temporal_effect"),
    "minutes": lambda row: row["seconds"]["training"] / 60 if row["seed"] is not None else None,
    "of it contrast": lambda row: row["seconds"]["contrast"] / 60 if row["seed"] is not None else None,
}
PLACES_OF = {"effect": 3}  # decimal places; 1 in the other columns


def tables(rows: Sequence[Row]) -> str:
    """The arms and their paired differences to GRPO, by testbed."""
    parts = []
    for place, testbed in TESTBEDS.items():
        chosen = [row for row in rows if row["place"] == place]
        if chosen:
            parts += [f"**Shortcut {testbed.words}**", arms_table(chosen), differences_table(measured(chosen))]
    return "\n\n".join(part for part in parts if part)


def arms_table(rows: Sequence[Row]) -> str:
    """One line for each arm: means and intervals over its runs.

    The intervals are the 95 % intervals of Student's t.
    """
    lines = ["| | runs | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for arm in ("cold start", *ARMS, *FURTHER_ARMS):
        runs = [row for row in rows if row["arm"] == arm]
        if runs:
            cells = (_cell([measure(row) for row in runs], PLACES_OF.get(name, 1)) for name, measure in COLUMNS.items())
            lines.append(f"| {arm} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


Measured: TypeAlias = Mapping[tuple[str, int, int | None], float]
"""The primary measure in percent, by arm, cold start and RL seed."""


def measured(rows: Sequence[Row]) -> Measured:
    """The primary measure of each row: temporal accuracy in order."""
    return {(row["arm"], row["cold_start"], row["seed"]): 100 * row["accuracy"]["ordered"] for row in rows}


def differences(accuracy: Measured, baseline: str = BASELINE) -> dict[str, list[float]]:
    """Each arm's primary measure minus that of the baseline, in points.

    There is one for each pair of runs of equal cold start and seed. Arms without a pair are left out.
    """
    found: dict[str, list[float]] = {}
    for (arm, cold_start, seed), value in accuracy.items():
        if arm != baseline and (first := accuracy.get((baseline, cold_start, seed))) is not None:
            found.setdefault(arm, []).append(value - first)
    return found


def differences_table(accuracy: Measured, baseline: str = BASELINE) -> str:
    """The differences to the baseline, one line for each arm.

    p is exact and two-sided: of all ways to flip the signs of the differences. The column after it is Holm's. Empty
    without a pair.
    """
    found = differences(accuracy, baseline)
    if not found:
        return ""
    values = {arm: sign_flip_p(points) for arm, points in found.items()}
    adjusted = dict(zip(values, holm(list(values.values())), strict=True))
    lines = [f"| arm − {baseline} | pairs | points | p | p, Holm |", "|---|---|---|---|---|"]
    for arm, points in found.items():
        lines.append(f"| {arm} | {len(points)} | {_cell(points)} | {values[arm]:.3f} | {adjusted[arm]:.3f} |")
    return "\n".join(lines)


def sign_flip_p(points: Sequence[float]) -> float:
    """The exact two-sided p of the sign-flip test.

    Its hypothesis: the mean difference is 0.
    """
    values = np.array(points)
    flips = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
    return float(np.mean(np.abs(flips @ values) >= abs(values.sum()) - 1e-9))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values."""
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def _cell(values: Sequence[float | None], places: int = 1) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, half = interval(known)
    return f"{mean:.{places}f}" if half is None else f"{mean:.{places}f} ± {half:.{places}f}"
