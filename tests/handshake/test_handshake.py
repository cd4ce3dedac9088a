"""The handshake against a real server that reads right, and wrong."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.asking.server_engine import ServerParams
from stages.data.sample import write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.evaluate import EvaluateParams
from stages.model.inputs import PromptBuilder
from stages.run.errors import UserError
from stages.run.files import read_json, write_json, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames
from tests.evaluation.prepared import asked, evaluate
from tests.model.tiny_models import clip
from tests.model_server import ModelServer, enlarged, every_second, model_server, negative, once_a_second

HANDSHAKE = 5  # requests: four clips and an image


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A benchmark of four clips of 48x48 at 4 frames a second, and an image."""
    monkeypatch.chdir(tmp_path)
    samples = [asked(f"v{index}", "direction", "Which way does it move? " * (1 + index)) for index in range(4)]
    samples.append(asked("i0", "colour", "What colour is it?", "image"))
    write_samples(tmp_path / "samples.parquet", samples)
    write_rejects(tmp_path / "quarantine.parquet", [])
    counts = {sample.sample_id: 1 if sample.data_type == "image" else 8 for sample in samples}
    shown = {name: clip(count, 48, 48, seed=seed) for seed, (name, count) in enumerate(counts.items())}
    ShardStore(tmp_path / "frames", SCHEMA).append(row_from_frames(name, each, 95) for name, each in shown.items())
    keys = [{"sample_id": name, "frame_key": name} for name in counts]
    write_table(tmp_path / "frames.parquet", keys, FRAME_KEYS_SCHEMA)
    return tmp_path


def asking(server: ModelServer, **changes: object) -> EvaluateParams:
    values = {"base_url": server.url, "model": "tiny", "model_path": str(server.folder), "prompt": "plain"}
    parameters = ServerParams.model_validate({**values, "payload": "video", "retries": 0, "timeout_s": 30.0, **changes})
    return EvaluateParams(engine="openai", server=parameters, orders=("ordered",), max_new_tokens=40, threads=1)


def test_a_server_that_reads_the_same_is_told_so_and_asked_on(
    qwen2_5: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_server(ModelServer(qwen2_5)) as server, caplog.at_level(logging.INFO):
        rows = evaluate(asking(server), Path("tiny"), place)
        assert len(server.bodies) == HANDSHAKE + len(rows)
        assert "handshake: 5 prompts have as many tokens on the server as here" in caplog.messages
        assert any("log-probabilities differ by 0.00" in message for message in caplog.messages)
        evaluate(asking(server), Path("tiny"), place)
        assert len(server.bodies) == HANDSHAKE + len(rows)  # nothing is asked, so nothing has to be proved


@pytest.mark.parametrize(
    ("changes", "forbidden"),
    [
        ({}, True),
        ({"handshake": False}, True),
        ({"payload": "images"}, True),
        ({"model_path": None}, False),  # nothing says which tokens they are
        ({"forbid_placeholders": False}, False),
        ({"extra_body": {"logit_bias": {"7": 1}}}, False),
    ],
)
def test_the_placeholders_of_a_known_model_are_forbidden_and_the_metrics_say_so(
    changes: dict[str, Any], forbidden: bool, qwen2_5: Path, place: Path
) -> None:
    builder = PromptBuilder(qwen2_5)
    tokens = [builder.tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>") for kind in ("video", "image")]
    expected = {str(token): -100 for token in tokens} if forbidden else changes.get("extra_body", {}).get("logit_bias")
    with model_server(ModelServer(qwen2_5)) as server:
        evaluate(asking(server, **changes), Path("tiny"), place)
        assert [body.get("logit_bias") for body in server.bodies] == [expected] * len(server.bodies)
    assert read_json(place / "metrics.json")["asked"].get("placeholders") == ("forbidden" if forbidden else None)


@pytest.mark.parametrize(
    ("misread", "words"),
    [
        (every_second, r"differs is the number of frames: the server shows about 4 of 8; start vLLM with"),
        (once_a_second, r"differs is the frame rate: .* takes the frames for 1 per second \(the first clip has 4\)"),
        (negative, r"differs is log-probabilities .* more than rounding does: other weights"),
    ],
)
def test_a_server_that_reads_a_clip_otherwise_stops_the_run_with_what_differs(
    misread: Callable[[Frames], Frames], words: str, qwen2_5: Path, place: Path
) -> None:
    with model_server(ModelServer(qwen2_5, misread)) as server:
        with pytest.raises(UserError, match=words) as error:
            evaluate(asking(server), Path("tiny"), place)
        assert "\n" not in str(error.value)
        assert len(server.bodies) <= HANDSHAKE + 1  # at most the question without frames
        rows = evaluate(asking(server, handshake=False), Path("tiny"), place)
        assert len(rows) == 5


def test_frames_that_the_processor_enlarges_are_named_with_its_bounds(qwen2_5: Path, place: Path) -> None:
    folder = place / "served"
    folder.mkdir()
    for file in qwen2_5.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = read_json(folder / "preprocessor_config.json") | {"size": {"shortest_edge": 9216, "longest_edge": 9216}}
    write_json(folder / "preprocessor_config.json", settings)
    (folder / "video_preprocessor_config.json").unlink(missing_ok=True)
    words = (
        r"the size of the frames: they take 146 tokens there and 38 here, .* 48x48 .* 9216 to 9216 pixels; set min_p"
    )
    with model_server(ModelServer(folder, enlarged)) as server, pytest.raises(UserError, match=words):
        evaluate(asking(server), Path("tiny"), place)


def test_a_template_with_a_system_prompt_is_told_from_the_frames(qwen2_5: Path, place: Path) -> None:
    system = "<|im_start|>system\nYou are a pirate.<|im_end|>\n"
    with (
        model_server(ModelServer(qwen2_5, system=system)) as server,
        pytest.raises(UserError, match=r"the template: the question without frames has \d+ tokens there and \d+ here"),
    ):
        evaluate(asking(server), Path("tiny"), place)


def test_clips_as_pictures_are_counted_with_their_times(
    qwen2_5: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_server(ModelServer(qwen2_5)) as server, caplog.at_level(logging.INFO):
        evaluate(asking(server, payload="images", frame_times="text"), Path("tiny"), place)
    assert "handshake: 5 prompts have as many tokens on the server as here" in caplog.messages


def test_pictures_that_the_server_changes_stop_the_run(qwen2_5: Path, place: Path) -> None:
    with (
        model_server(ModelServer(qwen2_5, enlarged)) as server,
        pytest.raises(UserError, match=r"handshake: .* differs is the (size|number|frames)"),
    ):
        evaluate(asking(server, payload="images"), Path("tiny"), place)


@pytest.mark.parametrize(
    ("lacks", "parameters", "words"),
    [
        ("logprobs", {}, "the server sent no log-probabilities that can be compared"),
        ("counts", {}, "not possible, because the server sent no count of tokens"),
        ("", {"model_path": None}, "not possible, because the files of 'tiny' are not here"),
        ("", {"handshake": False}, "switched off"),
    ],
)
def test_a_handshake_that_cannot_be_made_is_one_line(
    lacks: str,
    parameters: dict[str, object],
    words: str,
    qwen2_5: Path,
    place: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    less = ModelServer(qwen2_5, sends_logprobs=lacks != "logprobs", counts=lacks != "counts")
    with model_server(less) as server, caplog.at_level(logging.INFO):
        assert len(evaluate(asking(server, **parameters), Path("tiny"), place)) == 5
    assert [message for message in caplog.messages if words in message] != []


def test_a_folder_without_weights_is_enough_for_the_counts(
    qwen2_5: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = place / "files"
    folder.mkdir()
    for file in qwen2_5.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    with model_server(ModelServer(qwen2_5)) as server, caplog.at_level(logging.INFO):
        evaluate(asking(server, model_path=str(folder)), Path("tiny"), place)
        assert not any("logprobs" in body for body in server.bodies)
    assert f"handshake: no log-probabilities are compared, because {folder} holds no weights" in caplog.messages


def test_rounding_is_no_difference(qwen2_5: Path, place: Path) -> None:
    """Kernels in bf16 move log-probabilities by hundredths of a nat."""
    with model_server(ModelServer(qwen2_5, noise=0.02)) as server:
        assert len(evaluate(asking(server), Path("tiny"), place)) == 5
    with model_server(ModelServer(qwen2_5, noise=0.04)) as server, pytest.raises(UserError, match="other weights"):
        evaluate(asking(server, model="another"), Path("tiny"), place)


def test_a_model_that_was_trained_with_another_prompt_is_not_asked(qwen2_5: Path, place: Path) -> None:
    with model_server(ModelServer(qwen2_5)) as server:
        with pytest.raises(UserError, match=r"trained with the prompt style 'plain' .*server.prompt: plain"):
            evaluate(asking(server, prompt="video-r1"), Path("tiny"), place)
        assert server.bodies == []


def test_a_path_that_is_no_folder_is_one_line(qwen2_5: Path, place: Path) -> None:
    with (
        model_server(ModelServer(qwen2_5)) as server,
        pytest.raises(UserError, match="model_path names nowhere, which is no folder"),
    ):
        evaluate(asking(server, model_path="nowhere"), Path("tiny"), place)


def test_sampling_that_the_folder_adds_is_warned_of(
    qwen2_5: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = place / "files"
    folder.mkdir()
    for file in qwen2_5.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    write_json(folder / "generation_config.json", {"top_k": 1, "repetition_penalty": 1.05})
    with model_server(ModelServer(folder)) as server:
        evaluate(asking(server, extra_body={"top_k": -1}), Path("tiny"), place)
    [warning] = [message for message in caplog.messages if "generation_config.json" in message]
    assert "holds repetition_penalty: 1.05, which vLLM adds" in warning


def test_a_settings_file_that_is_none_is_one_line(qwen2_5: Path, place: Path) -> None:
    folder = place / "files"
    folder.mkdir()
    for file in qwen2_5.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for text in ("[1]", "{", "[" * 100_000):
        (folder / "generation_config.json").write_text(text)
        with (
            model_server(ModelServer(qwen2_5)) as server,
            pytest.raises(UserError, match=r"no readable generation_config.json of a model: "),
        ):
            evaluate(asking(server, model_path=str(folder)), Path("tiny"), place)


@pytest.mark.parametrize("noise", [float("nan"), float("inf")])
def test_log_probabilities_that_are_no_numbers_are_a_difference(noise: float, qwen2_5: Path, place: Path) -> None:
    with (
        model_server(ModelServer(qwen2_5, noise=noise)) as server,
        pytest.raises(UserError, match="differs is log-probabilities"),
    ):
        evaluate(asking(server), Path("tiny"), place)


def test_no_more_log_probabilities_are_read_than_were_asked_for(qwen2_5: Path, place: Path) -> None:
    class Talkative(ModelServer):
        """Sends a long list, whatever was asked."""

        def logprobs(self, body: dict[str, Any], ids: list[int]) -> list[dict[str, Any]]:
            entries = super().logprobs(body, ids)
            return entries + [{"token": "x", "logprob": -1.0}] * 100_000

    with model_server(Talkative(qwen2_5)) as server, pytest.raises(UserError, match=r"over 160 tokens"):  # 5 times 32
        evaluate(asking(server), Path("tiny"), place)


def test_questions_without_frames_and_shuffled_ones_are_part_of_a_run(
    qwen2_5: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with model_server(ModelServer(qwen2_5)) as server, caplog.at_level(logging.INFO):
        params = asking(server).model_copy(update={"orders": ("ordered", "shuffled", "blind")})
        assert len(evaluate(params, Path("tiny"), place)) == 4 * 3 + 2
    assert "handshake: 9 prompts have as many tokens on the server as here" in caplog.messages
    assert any("log-probabilities differ by 0.00" in message for message in caplog.messages)
