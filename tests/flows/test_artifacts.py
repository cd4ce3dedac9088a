from flows.artifacts import ExperimentResult, comparison_rows, metric_row, metric_rows, moved_metrics, stage_row
from flows.graph import Stage, StageResult


def test_a_stage_row_shows_state_duration_and_output_hashes() -> None:
    stage = Stage(
        "sft", ("base",), {"models/sft": "81640b1404fd0fc82951afc9a2e321d5.dir", "metrics/sft.json": "e008b939aea9"}
    )
    assert stage_row(stage, StageResult("Completed", 12.34)) == {
        "stage": "sft",
        "state": "Completed",
        "seconds": 12.3,
        "outputs": "models/sft 81640b14, metrics/sft.json e008b939",
    }


def test_a_failed_stage_shows_no_outputs() -> None:
    assert stage_row(Stage("sft", (), {"models/sft": "81640b14"}), StageResult("Failed", 1.0))["outputs"] == ""


def test_a_metric_row_shows_how_the_metric_moved() -> None:
    name = "metrics/evaluate/sft-shapes.json:accuracy.temporal"
    assert metric_row(name, 0.5, 0.75) == {
        "file": "metrics/evaluate/sft-shapes.json",
        "metric": "accuracy.temporal",
        "value": 0.75,
        "change": "+0.25",
    }
    assert list(metric_row(name, 0.5, 0.75)) == ["metric", "value", "change", "file"]  # a narrow window shows the first
    assert metric_row(name, 0.75, 0.5)["change"] == "-0.25"
    assert metric_row(name, 0.75, 0.75)["change"] == "="
    assert metric_row(name, None, 0.75)["change"] == ""


def test_metrics_that_moved_come_first_and_evaluations_before_what_led_to_them() -> None:
    before = {
        "ingest.json:kept": 9,
        "ingest.json:lost": 1,
        "sft.json:n": 4,
        "sft.json:loss": 0.5,
        "evaluate.json:n": 4,
        "evaluate.json:acc": 0.5,
    }
    rows = metric_rows(before, before | {"ingest.json:lost": 0, "evaluate.json:acc": 0.75, "sft.json:loss": 0.25})
    assert [f"{row['file']}:{row['metric']}" for row in rows] == [
        "evaluate.json:acc",
        "sft.json:loss",
        "ingest.json:lost",
        "evaluate.json:n",
        "sft.json:n",
        "ingest.json:kept",
    ]


def test_a_comparison_has_a_column_per_experiment_and_only_the_metrics_that_differ() -> None:
    experiments = {
        "a-1": ExperimentResult(
            {"tgrpo.alpha": 0.0}, {"m.json:loss": 1.5, "m.json:count": 4, "evaluate.json:accuracy": 0.5}
        ),
        "a-2": ExperimentResult({"tgrpo.alpha": 0.3}, {"m.json:loss": 1.25, "m.json:count": 4}),
    }
    moved = moved_metrics([one.metrics for one in experiments.values()])
    assert moved == ["evaluate.json:accuracy", "m.json:loss"]
    assert comparison_rows(experiments, moved) == [
        {"file": "params.yaml", "name": "tgrpo.alpha", "a-1": 0.0, "a-2": 0.3},
        {"file": "evaluate.json", "name": "accuracy", "a-1": 0.5, "a-2": ""},
        {"file": "m.json", "name": "loss", "a-1": 1.5, "a-2": 1.25},
    ]
