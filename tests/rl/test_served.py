"""T-GRPO whose responses servers draw: real servers, with our own decoder behind them."""

import math
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stages.data.sample import read_samples
from stages.model.adapters import Lora
from stages.model.inputs import Prompt
from stages.rl import server_pool
from stages.rl.loss import LossParams
from stages.rl.mismatch import CorrectionMode
from stages.rl.questions import ask, draw_seed
from stages.rl.server_pool import RolloutServers
from stages.run.errors import EndpointError, UserError
from stages.tgrpo import COLUMNS, TgrpoParams
from stages.video.frame_store import FrameReader
from tests.model_server import model_server, negative
from tests.ports import free_port
from tests.rl.runs import SMALL, rows, train, write_inputs
from tests.rollout_server import BASE, RolloutServer, rollout_process

ADAPTED = SMALL.model_copy(update={"lora": Lora(rank=2, alpha=4)})
ONE_STEP = ADAPTED.model_copy(update={"max_steps": 1, "save_steps": 1})
COMPARED = [name for name in COLUMNS if name not in ("sampling_logp_difference", "sampling_kl")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_inputs` leaves."""
    return write_inputs(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def here(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps that draws in this process."""
    folder = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(ADAPTED, inputs, folder)
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's folder is the working directory, and a lost server is asked again soon."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server_pool, "PAUSE_S", 0.05)


def served(params: TgrpoParams, *urls: str, **changes: object) -> TgrpoParams:
    """The parameters, with servers that draw."""
    return params.model_copy(update={"rollout": RolloutServers.model_validate({"servers": urls, **changes})})


def check_figures(there: Path, here: Path, steps: int) -> None:
    """Every figure of the first steps is that of the other run, but for rounding."""
    for name in COMPARED:
        found, expected = ([float(row[name] or "nan") for row in rows(run)[:steps]] for run in (there, here))
        assert len(found) == steps
        assert found == pytest.approx(expected, rel=1e-3, abs=2e-6, nan_ok=True), name
    assert all(float(row["sampling_logp_difference"]) < 1e-5 for row in rows(there))


def test_a_run_on_a_server_has_the_figures_of_a_run_in_this_process(inputs: Path, here: Path, tmp_path: Path) -> None:
    with model_server(RolloutServer(inputs / "sft")) as server:
        train(served(ADAPTED, server.url), inputs, tmp_path)
    check_figures(tmp_path, here, steps=4)
    loaded = [name for path, name in server.calls if path == "load_lora_adapter"]
    assert len(loaded) == len(set(loaded)) == 3  # the learning rate of the first step is 0
    assert [name for path, name in server.calls if path == "unload_lora_adapter"] == loaded[:-1]
    assert list(server.adapters) == loaded[-1:]
    assert [folder.name for folder in tmp_path.glob(".work/tgrpo/*/*/adapters/*")] == loaded[-1:]
    assert {body["model"] for body in server.drawn} == set(loaded)
    assert BASE in [name for path, name in server.calls if path == "chat/completions"]  # the handshake


def test_the_server_sees_the_frames_of_this_process_in_order_and_on_contrast(inputs: Path, tmp_path: Path) -> None:
    with model_server(RolloutServer(inputs / "sft")) as server:
        train(served(ONE_STEP, server.url), inputs, tmp_path)
        seen = {(body["n"], body["seed"], content(server.prompt(body))) for body in server.drawn}
    reader = FrameReader(inputs / "frames", inputs / "rl.parquet")
    shown: set[tuple[int, int, bytes]] = set()
    for sample in read_samples(inputs / "rl.parquet"):
        asked = ask(sample, reader, server.builder, "shuffle", ONE_STEP.seed, step=0)
        shown.add((4, draw_seed(ONE_STEP.seed, 0, True, sample.sample_id), content(asked.ordered)))
        if asked.contrast is not None:
            shown.add((2, draw_seed(ONE_STEP.seed, 0, False, sample.sample_id), content(asked.contrast)))
    assert len(seen) == 3
    assert seen < shown


def content(prompt: Prompt) -> bytes:
    """The pixels and positions of a prompt, in the order in which they are shown."""
    return prompt.patches_NK.numpy().tobytes() + prompt.position_ids_3P.numpy().tobytes()


class Waiting(RolloutServer):
    """A server that draws nothing before the other one has drawn the rest."""

    other: RolloutServer
    rest: int

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        while body.get("return_token_ids") and len(self.other.drawn) < self.rest:
            threading.Event().wait(0.01)
        return super().complete(body)


def test_two_servers_take_the_questions_as_they_get_free(inputs: Path, here: Path, tmp_path: Path) -> None:
    slow = Waiting(inputs / "sft")
    with model_server(RolloutServer(inputs / "sft")) as quick, model_server(slow):
        slow.other, slow.rest = quick, 2
        train(served(ONE_STEP, slow.url, quick.url, concurrency=1), inputs, tmp_path)
    check_figures(tmp_path, here, steps=1)
    assert (len(slow.drawn), len(quick.drawn)) == (1, 2)


@pytest.mark.integration
def test_a_server_that_is_killed_costs_its_questions_once_more_and_nothing_else(
    inputs: Path, here: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    dying = rollout_process(inputs / "sft", port, dies_at=2)
    with dying as process, model_server(RolloutServer(inputs / "sft")) as other:
        train(served(ADAPTED, f"http://127.0.0.1:{port}/v1", other.url, concurrency=1), inputs, tmp_path)
        assert process.poll() == -9
    check_figures(tmp_path, here, steps=4)
    questions = 14  # prompts of the four steps: 8 ordered, 6 on contrast frames
    assert len(other.drawn) == questions - 1
    assert sum("its questions are asked again" in message for message in caplog.messages) == 1


@pytest.mark.integration
def test_the_only_server_is_killed_and_the_run_goes_on_when_it_is_back(
    inputs: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    revived: list[RolloutServer] = []
    stop = threading.Event()

    with rollout_process(inputs / "sft", port, dies_at=5) as process:

        def revive() -> None:
            process.wait()
            with model_server(RolloutServer(inputs / "sft", port=port)) as server:
                revived.append(server)
                stop.wait()

        thread = threading.Thread(target=revive)
        thread.start()
        try:
            train(served(ADAPTED, f"http://127.0.0.1:{port}/v1", concurrency=1), inputs, tmp_path)
        finally:
            stop.set()
            thread.join()
    check_figures(tmp_path, here, steps=4)
    assert len(revived[0].drawn) == 14 - 4
    assert revived[0].calls[0][0] == "load_lora_adapter"


def test_a_run_without_any_server_left_stops_with_what_the_last_one_said(inputs: Path, tmp_path: Path) -> None:
    words = r"no rollout server was there for 0 s: no server answers at .* start it"
    with model_server(Leaving(inputs / "sft")) as server, pytest.raises(EndpointError, match=words):
        train(served(ADAPTED, server.url, wait_s=0.0), inputs, tmp_path)


class Leaving(RolloutServer):
    """A server that is gone once it has been asked for responses."""

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if self.drawn:
            raise ConnectionAbortedError
        return super().answer(path, body)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("return_token_ids"):
            self.drawn.append(body)
            raise ConnectionAbortedError
        return super().complete(body)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            (404, "Not Found"),
            r"HTTP 404: .*; start it with --enable-lora --max-lora-rank 2 \(or more\) and VLLM_",
        ),
        ((500, "LoRA rank 2 is greater than max_lora_rank 1"), r"rank 2 is greater .*; start it with --enable-lora"),
        ((404, "No adapter found for x"), r"set tgrpo\.rollout\.folder to a folder that the server sees"),
    ],
)
def test_a_server_that_refuses_the_adapter_stops_the_run_before_its_first_step(
    inputs: Path, tmp_path: Path, refusal: tuple[int, str], words: str
) -> None:
    server = RolloutServer(inputs / "sft", refusal=refusal)
    with model_server(server), pytest.raises(UserError, match=words) as error:
        train(served(ONE_STEP, server.url), inputs, tmp_path)
    assert "\n" not in str(error.value)
    assert not server.drawn


def test_a_server_of_another_model_stops_the_run(inputs: Path, tmp_path: Path) -> None:
    words, server = (
        r"handshake: http.* What differs is log-probabilities .* other weights",
        RolloutServer(inputs / "random"),
    )
    with model_server(server), pytest.raises(UserError, match=words):
        train(served(ONE_STEP, server.url), inputs, tmp_path)
    assert not server.drawn


def test_a_server_that_changes_the_pixels_stops_the_run(inputs: Path, tmp_path: Path) -> None:
    words, server = r"handshake: http.* does not read what this process would", RolloutServer(inputs / "sft", negative)
    with model_server(server), pytest.raises(UserError, match=words):
        train(served(ONE_STEP, server.url), inputs, tmp_path)


def test_a_server_that_is_not_there_stops_the_run_with_one_line(inputs: Path, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(EndpointError, match=rf"no server answers at {address} .*out of tgrpo\.rollout\.servers"):
        train(served(ONE_STEP, address), inputs, tmp_path)


class Odd(RolloutServer):
    """A server whose drawn answers are changed by `change`."""

    change: dict[str, Any]

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().complete(body)
        if body.get("return_token_ids"):
            answer |= self.change
            answer["choices"][0] |= self.change
        return answer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"token_ids": None},
            "sent no token ids with their log-probabilities; take a vLLM that knows",
        ),
        ({"logprobs": None}, "sent no token ids with their log-probabilities"),
        ({"prompt_token_ids": [1, 2]}, r"showed its model a prompt of 2 tokens which is not the one of this process"),
        ({"token_ids": [10**9], "logprobs": {"content": [{"token": "a", "logprob": -1.0}]}}, "cannot be scored"),
        ({"token_ids": [7], "logprobs": {"content": [{"token": "a", "logprob": math.nan}]}}, "cannot be scored"),
    ],
)
def test_responses_that_cannot_be_scored_stop_the_run(
    inputs: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    server = Odd(inputs / "sft")
    server.change = change
    with model_server(server), pytest.raises(UserError, match=words):
        train(served(ONE_STEP, server.url), inputs, tmp_path)


@pytest.mark.parametrize(
    ("mode", "clip_max", "factor"),
    [(None, 3.0, math.exp(0.02)), (None, 1.01, 1.01), ("off", 3.0, 1.0), ("token_mask", 1.01, 0.0)],
)
def test_the_loss_is_corrected_for_what_the_server_says_by_truncated_importance_sampling(
    inputs: Path, here: Path, tmp_path: Path, mode: CorrectionMode | None, clip_max: float, factor: float
) -> None:
    """The server tells log-probabilities that are 0.02 too low, so each ratio π_scored / π_sampled is e^0.02."""
    loss = LossParams(importance_sampling_mode=mode, importance_sampling_clip_max=clip_max)
    with model_server(RolloutServer(inputs / "sft", noise=0.02)) as server:
        train(served(ONE_STEP.model_copy(update={"loss": loss}), server.url), inputs, tmp_path)
    (row,) = rows(tmp_path)
    assert float(row["sampling_logp_difference"]) == pytest.approx(0.02, abs=1e-5)
    assert float(row["grad_norm"]) == pytest.approx(factor * float(rows(here)[0]["grad_norm"]), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora": None}, "servers load adapters, but no full weights while they run: set lora, or rollout null"),
        ({"lora": Lora(vision="adapters"), "freeze_vision": False}, "adapters of the language model only"),
        ({"temperature": 0.7}, "set temperature 1, or rollout null"),
    ],
)
def test_what_servers_cannot_do_is_refused_before_anything_starts(change: dict[str, object], words: str) -> None:
    possible = {"lora": Lora(), "freeze_vision": True, "rollout": RolloutServers(servers=("http://a/v1",))}
    assert TgrpoParams.model_validate(possible).correction == "token_truncate"
    with pytest.raises(ValidationError, match=words):
        TgrpoParams.model_validate(possible | change)
