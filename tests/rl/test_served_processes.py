"""Two processes that train and share a server, killed in the middle and started again."""

from pathlib import Path

import pytest

from stages.rl.server_pool import RolloutServers
from tests.model_server import model_server
from tests.rl.runs import alone, rows, write_inputs
from tests.rl.test_served import ADAPTED, check_figures
from tests.rollout_server import RolloutServer
from tests.test_tgrpo_processes import kill_after_checkpoint, start

pytestmark = pytest.mark.integration


def test_two_processes_on_a_server_are_killed_resume_and_agree_with_one_process_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = write_inputs(tmp_path)
    folder = tmp_path / "served"
    with model_server(RolloutServer(inputs / "sft")) as server:
        change = {"rollout": RolloutServers(servers=(server.url,)), "questions_per_forward": 1, "deepspeed": 2}
        params = ADAPTED.model_copy(update=change)
        kill_after_checkpoint(start(params, inputs, folder, 2), folder, 2)
        before = len(server.drawn)
        start(params, inputs, folder, 2).finish()
    alone({"lora": ADAPTED.lora, "questions_per_forward": 1}, inputs, tmp_path / "here", monkeypatch)
    check_figures(folder, tmp_path / "here", steps=4)
    assert len(rows(folder)) == 4
    assert before >= 7  # prompts of the first two steps
    loaded = [name for path, name in server.calls if path == "load_lora_adapter"]
    assert len(loaded) == len(set(loaded))  # one process has them loaded, and a resume finds the last one there
