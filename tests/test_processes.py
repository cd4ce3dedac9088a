"""A step is the same on 1, 2 and 4 processes: real ones, over gloo."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests import sft_inputs, warm
from tests.process_cases import CASES
from tests.rl import runs
from tests.together import Outcome

SECONDS = 420  # a process that waits for the passes of another would wait for ever
EXACT = (
    "reward",
    "accuracy",
    "format",
    "p",
    "p_contrast",
    "completion_tokens",
    "resampled",
    "skipped",
    "answers_change",
)
ROUNDED = ("loss", "grad_norm", "kl", "entropy", "temporal", "temporal_effect", "likelihood_gain", "answer_gain")
Train = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains a case on a number of processes; the result is the folder of its outcomes.

    All cases without DeepSpeed are trained by the same processes, because these take long to start.
    """
    root = tmp_path_factory.mktemp("processes")
    for name, write in (("sft", sft_inputs.write_inputs), ("tgrpo", runs.write_inputs)):
        (root / name).mkdir()
        write(root / name)

    @cache
    def launch(names: tuple[str, ...], processes: int) -> Path:
        out = root / f"{names[0]}-{processes}"
        out.mkdir()
        # after a failure the tests of the cases that are missing fail
        warm.start("tests.together", [str(root), str(out), *names], out, processes).wait(SECONDS)
        return out

    def run(name: str, processes: int) -> Path:
        if processes > 1 and CASES[name].params.deepspeed is not None:
            return launch((name,), processes)
        plain = [each for each, case in CASES.items() if processes in case.processes and case.params.deepspeed is None]
        return launch(tuple(CASES) if processes == 1 else tuple(plain), processes)

    return run


def outcomes(folder: Path, name: str, processes: int) -> list[Outcome]:
    """What each process left of a training."""
    return [json.loads((folder / f"{name}-{process}.json").read_text()) for process in range(processes)]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "processes"),
    [(name, processes) for processes in (2, 4) for name, case in CASES.items() if processes in case.processes],
)
def test_steps_on_several_processes_are_those_of_one(train: Train, name: str, processes: int) -> None:
    [alone] = outcomes(train(name, 1), name, 1)
    together = outcomes(train(name, processes), name, processes)
    texts: dict[str, list[str]] = {}
    for outcome in together:
        texts |= outcome["texts"]
    assert texts == alone["texts"]
    assert len(together[0]["steps"]) == CASES[name].params.max_steps
    for one, several in zip(alone["steps"], together[0]["steps"], strict=True):
        for figure in {*EXACT, *ROUNDED} & {name for name, value in one.items() if value is not None}:
            bounds = {"rel": 1e-6, "abs": 1e-9} if figure in EXACT else {"rel": 1e-3, "abs": 1e-5}
            assert several[figure] == pytest.approx(one[figure], nan_ok=True, **bounds), (one["step"], figure)
        waits = [name for name in several if name.startswith("idle_")]
        assert len(waits) == (processes if "seconds_rollout" in several else 0)
        assert all(0 <= several[name] < 1 for name in waits)
