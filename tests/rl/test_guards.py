import re

import pytest

from stages.rl.guards import Guards, trip
from stages.rl.metrics import Figure, StepRow
from stages.tgrpo import TgrpoParams

HEALTHY: dict[Figure, float] = {"truncated": 0.1, "zero_variance": 0.4, "format": 0.9, "kl": 0.05, "sampling_kl": 0.001}
GUARDS = Guards(window=2)


def changed(change: dict[Figure, float]) -> StepRow:
    """A healthy step but for some figures."""
    return {**HEALTHY, **change}


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"truncated": 0.6}, "raise tgrpo.max_new_tokens"),
        ({"zero_variance": 1.0}, "choose other questions"),
        ({"format": 0.1}, "train SFT longer"),
        ({"kl": 6.0}, "raise tgrpo.loss.beta"),
        ({"sampling_kl": 0.1}, "set tgrpo.precision to fp32"),
    ],
)
def test_each_failure_says_what_to_change(change: dict[Figure, float], advice: str) -> None:
    message = trip([HEALTHY, changed(change), changed(change)], GUARDS)
    assert message is not None
    assert advice in message
    assert "\n" not in message
    settings = TgrpoParams().model_dump()
    for section, name in re.findall(r"tgrpo\.(?:(\w+)\.)?(\w+)", message):
        assert name in (settings[section] if section else settings)


def test_one_bad_step_among_good_ones_is_not_a_failure() -> None:
    assert trip([HEALTHY, changed({"truncated": 0.8})], GUARDS) is None


def test_nothing_is_judged_before_the_window_is_full() -> None:
    assert trip([changed({"kl": 100.0})], GUARDS) is None
