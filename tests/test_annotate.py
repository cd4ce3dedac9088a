"""The annotate stage against the fault server, the embedded teacher and `transformers serve`, killed and resumed."""

import asyncio
import gc
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tqdm import tqdm

from stages.annotate import STORE_SCHEMA, AnnotateParams, Annotation, run
from stages.chat import client
from stages.data.annotations import ANNOTATION_SCHEMA
from stages.data.journal import JournaledStore
from stages.data.sample import Sample, read_samples, write_samples
from stages.data.shards import ShardStore
from stages.run.errors import EndpointError, UserError
from stages.run.files import read_json, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameReader, Frames
from tests.fault_server import COMPLETION_TOKENS, PROMPT_TOKENS, fault_server
from tests.tiny_llava import ANSWER, write_tiny_llava

ROOT = Path(__file__).parents[1]
OUTPUTS = ("responses", "annotations.parquet", "annotate.json")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "LONGEST_BACKOFF", 0.05)


def write_inputs(count: int) -> None:
    """`count` samples of the SFT set, one of the RL set, one without frames; 4 grey frames each."""
    template = Sample(
        sample_id="",
        source="shapes",
        data_type="video",
        problem_type="multiple choice",
        problem="",
        options=("A. left", "B. right"),
        answer="A",
        media_path="a.mp4",
        media_sha256="aa",
        split="sft",
    )
    samples = [template.model_copy(update={"sample_id": f"s{i}", "problem": f"question {i}?"}) for i in range(count)]
    samples.append(template.model_copy(update={"sample_id": "for-rl", "problem": "for RL?", "split": "rl"}))
    samples.append(template.model_copy(update={"sample_id": "no-frames", "problem": "no frames?"}))
    write_samples(Path("samples.parquet"), samples)
    shades = [
        Frames(np.full((4, 28, 28, 3), i % 256, dtype=np.uint8), np.arange(4), np.arange(4.0), 1.0)
        for i in range(count + 1)
    ]
    ShardStore(Path("frames"), SCHEMA).append(row_from_frames(f"k{i}", frames, 95) for i, frames in enumerate(shades))
    write_table(
        Path("frames.parquet"),
        [{"sample_id": one.sample_id, "frame_key": f"k{i}"} for i, one in enumerate(samples[:-1])],
        FRAME_KEYS_SCHEMA,
    )


def parameters(url: str, **changes: object) -> AnnotateParams:
    return AnnotateParams.model_validate(
        {
            "base_url": url,
            "model": "teacher",
            "prompt": "plain",
            "concurrency": 4,
            "retries": 1,
            "timeout_s": 1.0,
            **changes,
        }
    )


def annotate(params: AnnotateParams, dry_run: bool = False) -> list[dict[str, object]]:
    paths = {name: Path(f"{name}.parquet") for name in ("samples", "annotations")}
    run(
        params,
        frame_store=Path("frames"),
        frame_keys=Path("frames.parquet"),
        responses=Path("responses"),
        metrics=Path("annotate.json"),
        dry_run=dry_run,
        **paths,
    )
    return pq.read_table("annotations.parquet").to_pylist() if not dry_run else []


def only_once(calls: list[str]) -> bool:
    return len(calls) == len(set(calls))


def content(*names: str) -> dict[str, bytes]:
    files = [
        file for name in names for file in ([Path(name)] if Path(name).is_file() else sorted(Path(name).rglob("*")))
    ]
    return {str(file): file.read_bytes() for file in files}


def named(faults: dict[str, str]) -> Callable[[str, int], str]:
    """Faults by the first line of the question; everything else is answered."""
    return lambda text, attempt: faults.get(text.splitlines()[0], "ok")


def test_only_samples_of_the_sft_set_with_frames_are_asked_and_end_in_their_order() -> None:
    write_inputs(9)
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert sorted(call.text.splitlines()[0] for call in server.calls) == [f"question {i}?" for i in range(9)]
    assert [row["sample_id"] for row in rows] == [f"s{i}" for i in range(9)]
    assert {row["status"] for row in rows} == {"ok"}
    metrics = read_json(Path("annotate.json"))
    assert metrics["status"] == {"ok": 9, "malformed": 0, "truncated": 0, "refused": 0, "failed": 0}
    assert (metrics["samples_without_frames"], metrics["prompt_tokens"], metrics["completion_tokens"]) == (1, 900, 180)


def test_an_address_and_a_model_are_enough_for_a_server_and_it_is_asked_as_in_the_paper() -> None:
    write_inputs(1)
    with fault_server() as server:
        annotate(AnnotateParams(base_url=server.url, model="teacher"))
        [call] = server.calls
    assert call.text.startswith("question 0?Options:\nA. left\nB. right\n\nPlease think about this question")
    assert [call.body[name] for name in ("temperature", "top_p", "max_tokens")] == [1.0, 0.95, 512]
    assert AnnotateParams().style == "plain"  # of the embedded teacher


def test_every_sample_has_its_own_status_and_only_failed_ones_are_asked_again() -> None:
    write_inputs(6)
    faults = {
        "question 0?": "malformed thought",
        "question 1?": "length",
        "question 2?": "content_filter",
        "question 3?": "500",
        "question 4?": "malformed json",
    }
    with fault_server(named(faults)) as server:
        rows = annotate(parameters(server.url, max_failed=0.5))
        assert [row["status"] for row in rows] == ["malformed", "truncated", "refused", "failed", "failed", "ok"]
        assert str(rows[3]["detail"]).startswith("HTTP 500")
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert [row["status"] for row in rows] == ["malformed", "truncated", "refused", "ok", "ok", "ok"]
        assert sorted(call.text.splitlines()[0] for call in server.calls) == ["question 3?", "question 4?"]


FAULTS = ("429", "429 after 0.2", "500", "503", "reset", "stall", "malformed json", "empty choices", "drip")


def test_among_all_faults_nothing_is_lost_and_only_what_failed_is_asked_again() -> None:
    write_inputs(27)
    final = {"question 9?": "length", "question 10?": "content_filter", "question 11?": "refusal"}

    def fault(text: str, attempt: int) -> str:
        question = text.splitlines()[0]
        number = int(question.split()[1].rstrip("?"))
        return final.get(question, FAULTS[number] if number < len(FAULTS) and attempt == 1 else "ok")

    with fault_server(fault, latency_s=0.01) as server:
        rows = annotate(parameters(server.url, concurrency=3))
        assert [row["sample_id"] for row in rows] == [f"s{i}" for i in range(27)]
        assert [row["status"] for row in rows] == ["ok"] * 9 + ["truncated", "refused", "refused"] + ["ok"] * 15
        asked = Counter(int(call.text.split()[1].rstrip("?\n")) for call in server.calls)
        assert asked == {number: 2 if number < len(FAULTS) else 1 for number in range(27)}
        assert annotate(parameters(server.url)) == rows
        assert len(server.calls) == 27 + len(FAULTS)


def test_nothing_is_asked_twice_and_changed_parameters_ask_anew_and_keep_the_old() -> None:
    write_inputs(5)
    with fault_server() as server:
        first = annotate(parameters(server.url))
        shards = content("responses")
        assert annotate(parameters(server.url, concurrency=2)) == first
        assert len(server.calls) == 5
        for change in ({"prompt": "video-r1"}, {"model": "other"}, {"seed": 1}):
            asked = len(server.calls)
            annotate(parameters(server.url, **change))
            assert len(server.calls) == asked + 5
        assert annotate(parameters(server.url)) == first
        assert len(server.calls) == 20
    assert content("responses").items() >= shards.items()


def test_n_answers_per_question_have_seeds_of_their_own_and_equal_questions_are_asked_once() -> None:
    write_inputs(2)
    rows = pq.read_table("frames.parquet").to_pylist()
    write_table(Path("frames.parquet"), [row | {"frame_key": "k0"} for row in rows], FRAME_KEYS_SCHEMA)
    samples = pq.read_table("samples.parquet").to_pylist()
    pq.write_table(
        pq.read_table("samples.parquet").from_pylist([row | {"problem": "same?"} for row in samples]), "samples.parquet"
    )
    with fault_server() as server:
        assert [row["sample_id"] for row in annotate(parameters(server.url, n=3, seed=10))] == [
            "s0",
            "s0",
            "s0",
            "s1",
            "s1",
            "s1",
        ]
        assert sorted(call.seed or 0 for call in server.calls) == [10, 11, 12]


def test_uninterrupted_runs_from_clean_are_byte_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_inputs(30)
        with fault_server(
            lambda text, attempt: "429" if attempt == 1 and "7" in text else "ok", latency_s=0.005
        ) as server:
            annotate(parameters(server.url, concurrency=8))
        results.append(content(*OUTPUTS))
    assert results[0] == results[1]


def test_too_many_failures_stop_with_one_line_and_the_table() -> None:
    write_inputs(40)
    with fault_server(lambda text, attempt: "500") as server:
        with pytest.raises(
            EndpointError,
            match=r"[56] of 40 requests failed, .*, most often with 'HTTP 500: .*reasons are in annotations.parquet",
        ):
            annotate(parameters(server.url, max_failed=0.1, retries=0, concurrency=1))
        asked = len(server.calls)
    rows = pq.read_table("annotations.parquet").to_pylist()
    assert {row["status"] for row in rows} == {"failed"}
    assert 5 <= len(rows) <= asked <= 6  # the next one may be on its way when the last is counted


def test_an_endpoint_that_goes_down_loses_nothing_and_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    write_inputs(6)
    with fault_server() as server:
        annotate(parameters(server.url, max_tokens_total=10**6), dry_run=True)
        assert server.calls == []
    with pytest.raises(EndpointError, match="no server answers"):
        annotate(parameters(server.url))
    gc.collect()
    assert caplog.text == ""  # asyncio would name here each other request that met the same end
    with fault_server() as server:
        annotate(parameters(server.url))
        assert len(server.calls) == 6


def test_limits_on_tokens_and_money_stop_before_they_are_exceeded_and_can_be_raised() -> None:
    write_inputs(12)
    each = PROMPT_TOKENS + COMPLETION_TOKENS
    with fault_server() as server:
        prices = {"teacher": {"prompt": 1000.0, "completion": 5000.0}}  # 0.2 for each answer here
        with pytest.raises(UserError, match=r"stopped with 5 of 12 requests answered, 600 tokens and cost 1.00 spent"):
            annotate(parameters(server.url, max_tokens=30, max_tokens_total=5 * each + 20, prices=prices))
        assert len(server.answered) == 5
        with pytest.raises(UserError, match=r"stopped with 8 of 12 requests answered, 960 tokens and cost 1.60 spent"):
            annotate(parameters(server.url, max_tokens=30, max_cost=1.7, prices=prices))
        assert len(server.answered) == 8
        rows = annotate(parameters(server.url, max_tokens=30, max_cost=100.0, prices=prices))
        assert len(rows) == len(server.calls) == 12
        assert only_once([call.text for call in server.calls])
    assert read_json(Path("annotate.json"))["cost"] == pytest.approx(2.4)


@pytest.mark.parametrize("fault", ["reset", "malformed json"])
def test_a_limit_holds_on_the_servers_side_also_when_connections_break(fault: str) -> None:
    write_inputs(40)

    def twice_in_two_of_three(text: str, attempt: int) -> str:
        return fault if attempt <= 2 and int(re.findall(r"\d+", text)[0]) % 3 < 2 else "ok"

    with fault_server(twice_in_two_of_three, latency_s=0.01) as server:
        with pytest.raises(UserError, match="could exceed max_cost"):
            annotate(
                parameters(
                    server.url,
                    concurrency=8,
                    retries=5,
                    max_tokens=COMPLETION_TOKENS,
                    max_tokens_total=2000,
                    max_failed=1.0,
                )
            )
        assert 1000 < len(server.calls) * (PROMPT_TOKENS + COMPLETION_TOKENS) <= 2000


def test_a_limit_needs_a_server_that_counts_tokens() -> None:
    write_inputs(3)
    with fault_server(lambda text, attempt: "no usage") as server:
        with pytest.raises(UserError, match="does not say how many tokens"):
            annotate(parameters(server.url, max_tokens_total=10**6))
        assert [row["status"] for row in annotate(parameters(server.url))] == ["ok"] * 3
        assert only_once([call.text for call in server.calls])


def test_the_progress_bar_shows_tokens_and_money_as_they_are_spent() -> None:
    write_inputs(3)
    screen, reader = io.StringIO(), FrameReader(Path("frames"), Path("frames.parquet"))
    prices = {"teacher": {"prompt": 1000.0, "completion": 5000.0}}
    with (
        fault_server() as server,
        JournaledStore(Path("responses"), Path("journal.jsonl"), STORE_SCHEMA) as store,
        tqdm(total=3, file=screen, mininterval=0) as bar,
    ):
        job = Annotation(
            parameters(server.url, prices=prices, concurrency=1), store, read_samples(Path("samples.parquet"))[:3]
        )
        asyncio.run(job.ask(reader, server.url, bar))
    shown = re.findall(r"(\d)/3 \[[^]]*, (\d+) tokens, cost ([\d.]+)]", screen.getvalue())
    assert {int(tokens) for _, tokens, _ in shown} == {120 * int(answered) for answered, _, _ in shown} > {360}
    assert all(float(cost) == pytest.approx(0.2 * int(answered)) for answered, _, cost in shown)


def test_a_limit_on_money_needs_a_price() -> None:
    write_inputs(1)
    with pytest.raises(UserError, match=r"annotate.prices has no 'teacher'"):
        annotate(parameters("http://127.0.0.1:9/v1", max_cost=1.0))


def test_a_dry_run_estimates_and_asks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    write_inputs(3)
    with fault_server() as server, caplog.at_level("INFO"):
        annotate(parameters(server.url, prices={"teacher": {"prompt": 0.0, "completion": 1000.0}}), dry_run=True)
        assert server.calls == []
    assert "3 of 3 requests are not answered yet" in caplog.text
    assert "at most 1,536 completion tokens" in caplog.text
    assert "cost 1.54" in caplog.text
    assert not Path("annotations.parquet").exists()


def test_the_key_is_in_no_artifact(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    write_inputs(4)
    with fault_server(named({"question 1?": "400"})) as server, caplog.at_level("DEBUG"):
        rows = annotate(parameters(server.url, api_key_env="TEACHER_KEY", max_failed=1.0))
        assert server.calls[0].authorization == "Bearer sk-very-secret"
    assert "[key]" in str(rows[1]["detail"])
    artifacts = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert artifacts
    assert not any(b"sk-very-secret" in data for data in [*artifacts, caplog.text.encode()])


def test_a_torn_last_line_of_the_journal_is_asked_again() -> None:
    write_inputs(5)
    journal = Path(".work/annotate/responses.jsonl")
    with fault_server(named({"question 4?": "500"})) as server:
        with pytest.raises(UserError):
            annotate(parameters(server.url, max_failed=0.0, concurrency=1))
        assert len(journal.read_bytes().splitlines()) == 4
        journal.write_bytes(journal.read_bytes()[:-10])
    with fault_server() as server:
        rows = annotate(parameters(server.url))
        assert sorted(call.text.splitlines()[0] for call in server.calls) == ["question 3?", "question 4?"]
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert journal.read_bytes() == b""


COMMAND = [
    sys.executable,
    "-m",
    "stages.annotate",
    "--samples",
    "samples.parquet",
    "--frame-store",
    "frames",
    "--frame-keys",
    "frames.parquet",
]
COMMAND += ["--responses", "responses", "--annotations", "annotations.parquet", "--metrics", "annotate.json"]


def start(url: str) -> "subprocess.Popen[bytes]":
    section = {"base_url": url, "model": "teacher", "prompt": "plain", "concurrency": 8}
    Path("params.yaml").write_text(json.dumps({"annotate": section}))
    return subprocess.Popen(COMMAND, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)


@pytest.mark.integration
def test_kill_9_at_any_moment_loses_nothing_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(120)
    with fault_server(latency_s=0.02) as server:
        for share in (20, 70):
            process = start(server.url)
            while len(server.answered) < share:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert start(server.url).wait() == 0
        counts = {
            text: sum(call.text == text for call in server.calls) for text in {call.text for call in server.calls}
        }
    assert len(counts) == 120
    # Only what was in flight or about to be written when a kill came, at most 10 requests each time, may have been asked again.
    assert sum(counts.values()) <= 120 + 2 * 10
    assert max(counts.values()) <= 3
    killed = content(*OUTPUTS)
    (tmp_path / "clean").mkdir()
    monkeypatch.chdir(tmp_path / "clean")
    write_inputs(120)
    with fault_server() as server:
        assert start(server.url).wait() == 0
    assert content(*OUTPUTS) == killed


@pytest.mark.integration
def test_the_embedded_teacher_answers_the_whole_set_twice_alike() -> None:
    write_inputs(20)
    params = parameters("embedded", model="embedded-teacher", careless=0.5)
    rows = annotate(params)
    assert [row["status"] for row in rows] == ["ok"] * 20
    assert set(rows[0]) == set(ANNOTATION_SCHEMA.names)
    assert annotate(params) == rows


@contextmanager
def transformers_serve(model: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """A real server of transformers with `model`: its address, and how many chat requests stand in its own log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = model.with_suffix(".log")
    command = [
        Path(sys.executable).parent / "transformers",
        "serve",
        model,
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        try:
            while "Application startup complete" not in log.read_text():
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1", lambda: log.read_text().count("POST /v1/chat/completions")
        finally:
            server.terminate()
            server.wait()


@pytest.mark.integration
def test_transformers_serve_answers_from_image_parts_and_is_asked_once() -> None:
    write_inputs(6)
    model = write_tiny_llava(Path("tiny-llava").absolute())
    with transformers_serve(model) as (url, requests_in_its_log):
        params = parameters(url, model=str(model), timeout_s=60.0, temperature=0.5)
        rows = annotate(params)
        assert [(row["status"], row["text"]) for row in rows] == [("ok", ANSWER)] * 6
        text = "<|im_start|>user\nquestion 0?\nA. left\nB. right<|im_end|>\n<|im_start|>assistant\n"
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        assert rows[0]["prompt_tokens"] == len(tokenizer.encode(text)) + 4 * 4  # each of the four frames is four tokens
        assert rows[0]["completion_tokens"] == len(tokenizer.encode(f"{ANSWER}<|im_end|>"))
        assert requests_in_its_log() == 6
        assert annotate(params) == rows
        assert requests_in_its_log() == 6
        assert [row["status"] for row in annotate(parameters(url, model=str(model), timeout_s=60.0, max_tokens=5))] == [
            "truncated"
        ] * 6
        assert requests_in_its_log() == 12
        with pytest.raises(UserError, match=r"most often with 'HTTP 400: .*Server is pinned to"):
            annotate(parameters(url, model="another", timeout_s=60.0))
