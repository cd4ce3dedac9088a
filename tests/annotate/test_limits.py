"""The annotate stage held against limits on tokens, money and failures."""

import asyncio
import gc
import io
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tqdm import tqdm

from stages.annotate import Annotation
from stages.chat.answers import Answers
from stages.data.annotations import ANSWER_SCHEMA
from stages.data.journal import JournaledStore
from stages.data.sample import read_samples
from stages.run.errors import EndpointError, UserError
from stages.run.files import read_json
from stages.video.frame_store import FrameReader
from tests.annotate.case import annotate, only_once, parameters, write_inputs
from tests.fault_server import COMPLETION_TOKENS, PROMPT_TOKENS, fault_server


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
        JournaledStore(Path("responses"), Path("journal.jsonl"), ANSWER_SCHEMA) as store,
        tqdm(total=3, file=screen, mininterval=0) as bar,
    ):
        params = parameters(server.url, prices=prices, concurrency=1)
        answers = Answers(store, params.ledger("teacher", "annotate"))
        job = Annotation(params, "images", answers, read_samples(Path("samples.parquet"))[:3])
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
    assert "3 of 3 requests have no answer yet" in caplog.text
    assert "at most 1,536 completion tokens" in caplog.text
    assert "cost 1.54" in caplog.text
    assert not Path("annotations.parquet").exists()
