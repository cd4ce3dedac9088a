"""T-GRPO whose responses servers draw, against real servers with our own decoder."""

from pathlib import Path

import pytest

from stages.model.adapters import Lora
from stages.rl.server_pool import RolloutServers
from tests.model_server import model_server
from tests.rl.runs import SMALL, rows, train, write_inputs
from tests.rollout_server import RolloutServer

ADAPTED = SMALL.model_copy(update={"lora": Lora(rank=2, alpha=4)})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_inputs` leaves."""
    return write_inputs(tmp_path_factory.mktemp("served"))


def test_a_run_on_a_server_has_the_figures_of_a_run_in_this_process(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with model_server(RolloutServer(inputs / "sft")) as server:
        served = ADAPTED.model_copy(update={"rollout": RolloutServers(servers=(server.url,))})
        (tmp_path / "served").mkdir()
        train(served, inputs, tmp_path / "served")
        print(server.calls)
    (tmp_path / "here").mkdir()
    train(ADAPTED, inputs, tmp_path / "here")
    for there, here in zip(rows(tmp_path / "served"), rows(tmp_path / "here"), strict=True):
        print(there, here)
