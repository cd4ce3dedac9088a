from collections.abc import Iterator

import pytest
import torch

from stages.model.optimisation import Optimisation


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave PyTorch as it was."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("deterministic", "has_gpu", "expected"),
    [(None, False, True), (None, True, False), (True, True, True), (False, False, False)],
)
def test_determinism_is_on_for_the_cpu_off_for_a_gpu_and_a_parameter(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool | None, has_gpu: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    torch.use_deterministic_algorithms(not expected)
    Optimisation(deterministic=deterministic).configure_torch()
    assert torch.are_deterministic_algorithms_enabled() == expected
