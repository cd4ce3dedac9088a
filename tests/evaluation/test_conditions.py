"""How a model was asked stands in its metrics and beside each comparison."""

import logging
from pathlib import Path

import pytest

from stages.asking.server_engine import ServerParams
from stages.data.conditions import differences, read_conditions
from stages.evaluate import Candidate, EvaluateParams, Tables, run
from stages.evaluation.prepared import Wanted
from stages.reporting.benchmark_results import benchmark_result
from stages.run.files import read_json
from tests.evaluation.prepared import PARAMS, evaluate, prepare
from tests.fault_server import fault_server

SAMPLING = {"max_new_tokens": 6, "temperature": 0.0, "top_p": 1.0, "shown": "1–4 frames of 48×32"}
HERE = {"by": "this process", "prompt": "plain", "precision": "fp32", **SAMPLING}
THERE = {
    "by": "a server: unknown",
    "prompt": "video-r1",
    "payload": "images",
    "frame_rate": "not sent",
    "frame_times": "text",
    "extra_body": {"top_k": 1},
    **SAMPLING,
}


def served(url: str) -> EvaluateParams:
    server = {"base_url": url, "model": "t", "payload": "images", "frame_times": "text", "extra_body": {"top_k": 1}}
    return PARAMS.model_copy(update={"engine": "openai", "server": ServerParams.model_validate(server)})


def test_metrics_and_predictions_say_how_the_model_was_asked(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    evaluate(PARAMS, qwen2_5, tmp_path, "here")
    assert read_json(tmp_path / "here.json")["asked"] == HERE == read_conditions(tmp_path / "here.parquet")
    with fault_server() as server:
        evaluate(served(server.url), Path("t"), tmp_path, "there")
        assert read_json(tmp_path / "there.json")["asked"] == THERE == read_conditions(tmp_path / "there.parquet")
        tables = [tmp_path / f"{name}.parquet" for name in ("there", "here")]
        with caplog.at_level(logging.WARNING):
            files = Tables(tables[0], tmp_path / "m", against=tables[1])
            run(served(server.url), Candidate("t", "tiny"), Wanted("shapes", tmp_path), files)
    [warning] = [message for message in caplog.messages if "in different ways" in message]
    assert "prompt: video-r1 (tiny), plain (here)" in warning


def test_a_report_claims_no_gain_between_models_that_were_asked_in_different_ways(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "benchmarks" / "shapes-4"
    data.mkdir(parents=True)
    prepare(data)

    def predict(name: str, params: EvaluateParams) -> None:
        tables = Tables(tmp_path / "predictions" / f"{name}-shapes-4.parquet", tmp_path / f"{name}.json")
        run(params, Candidate(str(qwen2_5), name), Wanted("shapes", data), tables)

    predict("sft", PARAMS)
    predict("tgrpo", PARAMS.model_copy(update={"max_new_tokens": 5}))
    predict("again", PARAMS)
    folders = (tmp_path / "benchmarks", tmp_path / "predictions")
    differ = benchmark_result("shapes", 4, "shapes", ["sft", "tgrpo"], *folders, "official", 0)
    assert differ.comparison.asked_differently == "max_new_tokens: 6 (SFT), 5 (T-GRPO)"
    assert differ.findings.sentences[0].startswith("The models were asked in different ways")
    assert "The way of asking may explain it." in " ".join(differ.findings.sentences)
    assert not differ.findings.gained
    same = benchmark_result("shapes", 4, "shapes", ["sft", "again"], *folders, "official", 0)
    assert same.comparison.asked_differently == ""
    assert "in different ways" not in " ".join(same.findings.sentences)


def test_only_what_differs_is_named_and_what_is_not_recorded_is_said() -> None:
    assert differences({"a": HERE, "b": HERE, "c": HERE}) == ""
    assert differences({"a": HERE, "b": {**HERE, "precision": "bf16"}, "c": HERE}) == "precision: fp32 (a, c), bf16 (b)"
    assert differences({"a": {**THERE, "payload": "video"}, "b": THERE}) == "payload: video (a), images (b)"
    assert differences({"a": HERE, "old": None}) == "how old was asked is not recorded"
    assert differences({"old": None}) == ""
