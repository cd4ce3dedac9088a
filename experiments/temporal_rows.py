"""Testbeds, arms and rows of experiments/temporal.py and experiments/conditions.py."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypedDict

from experiments.evidence import Accuracies

Place = Literal["rl", "both", "none", "rl 0.75", "rl 1.0", "looking"]


class Testbed(NamedTuple):
    """Where the shortcut is, and how the cold start was taught.

    `shortcut` is that of the RL clips, in_sft says whether the SFT clips have it too. `careless` is the share of the
    teacher's glances, None for the pipeline's own.
    """

    words: str
    shortcut: float | None
    in_sft: bool = False
    careless: float | None = None


TESTBEDS: Mapping[Place, Testbed] = {
    "rl": Testbed("in the RL set alone", 0.9),
    "both": Testbed("in the SFT set and the RL set", 0.9, in_sft=True),
    "none": Testbed("nowhere: the ordinary embedded task", None),
    "rl 0.75": Testbed("in 75 % of the RL set alone", 0.75),
    "rl 1.0": Testbed("in the whole RL set alone", 1.0),
    "looking": Testbed("in the RL set alone, after a cold start whose teacher glances in 50 %", 0.9, careless=0.5),
}
BASELINE = "GRPO"
ARMS: Mapping[str, Mapping[str, str | float]] = {
    "GRPO": {"temporal": "off"},
    "likelihood": {"temporal": "likelihood", "alpha": 2.0},
    "paper": {"temporal": "paper", "alpha": 0.3},
    "relation": {"temporal": "relation", "alpha": 1.0},
    "answer": {"temporal": "answer", "alpha": 2.0},
    "tokens": {"temporal": "tokens", "alpha": 4.0},
}
FURTHER_ARMS: Mapping[str, Mapping[str, str | float]] = {
    "likelihood, α 0.5": {"temporal": "likelihood", "alpha": 0.5},
    "likelihood, reversed": {"temporal": "likelihood", "alpha": 2.0, "contrast": "reverse"},
    "thought": {"temporal": "thought", "alpha": 2.0},
    "relation, batch": {"temporal": "relation", "alpha": 1.0, "scale": "batch"},
}
COLD_STARTS = range(3)
SEEDS: Mapping[Place, Sequence[int]] = {"rl": range(3), "both": range(3), "none": range(1)}


class Run(NamedTuple):
    """One training.

    `place` is the testbed (TESTBEDS). `cold_start` is sft.seed, `seed` is tgrpo.seed, None for the cold
    start itself.
    """

    place: Place
    cold_start: int
    seed: int | None
    arm: str


class Seconds(TypedDict):
    """Seconds of a training, its contrast scores and the exchanged thoughts."""

    training: float
    contrast: float
    faithfulness: float


class Row(TypedDict):
    """A finished run: what it was, where it ran, and its figures.

    `looks` is the share of the answers in order to questions of the careless families that name two frames.
    `answers_change` is the share of the temporal answers that change when the thought is exchanged
    (stages/generation/faithfulness.py), on the benchmark. `steps` has means over the steps of the training.
    """

    place: Place
    cold_start: int
    seed: int | None
    arm: str
    commit: str
    processor: str
    accuracy: Accuracies
    looks: float
    answers_change: float
    steps: Mapping[str, float | None]
    seconds: Seconds


def planned() -> list[Run]:
    """Every run in the protocol's order.

    The order is seed by seed, so that a stopped experiment has compared all arms.
    """
    runs = []
    for place, seeds in SEEDS.items():
        for cold_start in COLD_STARTS:
            runs.append(Run(place, cold_start, None, "cold start"))
            runs += [Run(place, cold_start, seed, arm) for seed in seeds for arm in ARMS]
    return runs


def run_of(row: Row) -> Run:
    """The run that a row is about."""
    return Run(row["place"], row["cold_start"], row["seed"], row["arm"])
