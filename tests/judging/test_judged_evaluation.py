"""A judged evaluation end to end: a served model, a served judge, real files."""

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.asking.server_engine import ServerParams
from stages.data.conditions import differences, read_conditions
from stages.data.sample import read_samples, write_samples
from stages.evaluate import Candidate, Tables, run
from stages.evaluation.judgements import JUDGEMENT, judge_text, read_judge
from stages.evaluation.predictions import PREDICTION_SCHEMA
from stages.evaluation.prepared import Wanted
from stages.judging.parameters import JudgeParams
from stages.run.errors import EndpointError
from stages.run.files import read_json
from tests.evaluation.prepared import PARAMS, evaluate, prepare
from tests.fault_server import THOUGHT, completion, fault_server, raw
from tests.judging.judging import data, judge_server


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared benchmark; two of its five clips with frames ask open questions."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    samples = read_samples(tmp_path / "samples.parquet")
    opened = [
        sample.model_copy(update={"problem_type": "free-form", "options": (), "answer": "to the left"})
        if sample.sample_id in ("v0", "v1")
        else sample
        for sample in samples
    ]
    write_samples(tmp_path / "samples.parquet", opened)
    return tmp_path


def test_the_table_the_metrics_and_the_log_name_the_judge_and_its_agreement(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with fault_server() as model, judge_server(lambda text: "correct") as judge:
        served = PARAMS.model_copy(update={"server": ServerParams(base_url=model.url, payload="images")})
        plain = served.asking("served", model.url)
        evaluate(plain, Path("served"), place, "unjudged")
        params = plain.model_copy(update={"judge": JudgeParams(base_url=judge.url, model="a-judge")})
        asked = len(model.calls)
        rows = evaluate(params, Path("served"), place)
        assert len(model.calls) == asked  # the judge changes nothing about the model's answers
        verdicts = len(judge.calls)
        assert {data(call.text)["answer"] for call in judge.calls} == {"A"}
        run(params, Candidate("served"), Wanted("shapes", place), Tables(headline=Path("headline.json")))
        assert len(judge.calls) == verdicts
    assert pq.read_schema(place / "unjudged.parquet").names == PREDICTION_SCHEMA.names
    assert pq.read_schema(place / "predictions.parquet").names == [*PREDICTION_SCHEMA.names, JUDGEMENT.name]
    judged = {row["sample_id"] for row in rows if row["judgement"] and row["judgement"]["decides"]}
    assert judged == {"v0", "v1"}
    assert {row["official"] for row in rows if row["sample_id"] in judged} == {1.0}
    assert {row["video-r1"] for row in rows if row["sample_id"] in judged} == {0.0}  # that profile has no judge
    record = read_judge(place / "predictions.parquet")
    assert record
    name = f"a-judge at {judge.url}, prompt judge-1"
    assert (record["name"], record["decided"]["correct"]) == (name, 4)
    assert record["checks"]
    assert (record["checks"]["n"], record["checks"]["only_judge"]) == (4, 4)  # three clips and the picture
    assert read_json(Path("headline.json"))["judge"] == name
    metrics = read_json(place / "metrics.json")
    assert metrics["judge"]["checks"]["n"] == 4
    assert "judge" not in read_json(place / "unjudged.json")
    assert judge_text(record) in caplog.text
    assert "0 have no verdict" in caplog.text
    asked_of = {each: read_conditions(place / f"{each}.parquet") for each in ("unjudged", "predictions")}
    assert differences(asked_of) == f"judge: none (unjudged), {name} (predictions)"


def test_a_judge_that_dies_stops_the_evaluation_and_the_next_run_asks_only_the_rest(place: Path) -> None:
    with fault_server(lambda text, attempt: raw(completion(THOUGHT.replace("A", text[-9:])))) as model:
        served = ServerParams(base_url=model.url, payload="images")
        params = PARAMS.model_copy(update={"server": served}).asking("served", model.url)
        with judge_server(fault=lambda text, attempt: "500") as judge:
            dead = params.model_copy(update={"judge": JudgeParams(base_url=judge.url, model="a-judge", retries=0)})
            with pytest.raises(EndpointError, match=r"judge: \d+ of \d+ requests failed"):
                evaluate(dead, Path("served"), place)
        assert not (place / "predictions.parquet").exists()
        asked = len(model.calls)
        with judge_server(lambda text: "correct") as judge:
            alive = JudgeParams(base_url=judge.url, model="a-judge")
            rows = evaluate(params.model_copy(update={"judge": alive}), Path("served"), place)
        assert len(model.calls) == asked
    assert {row["judgement"]["verdict"] for row in rows if row["judgement"]} == {"correct"}
