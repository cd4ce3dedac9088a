"""Evaluation end to end on a tiny random model."""

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from transformers.modeling_utils import PreTrainedModel

from stages.asking import engines
from stages.asking.server_engine import ServerParams
from stages.data.conditions import with_conditions
from stages.data.sample import Reject, read_samples, write_rejects, write_samples
from stages.evaluate import Candidate, EvaluateParams, Tables, run
from stages.evaluation.predictions import PREDICTION_SCHEMA
from stages.evaluation.prepared import Wanted
from stages.generation.decoder import Room
from stages.generation.generate import Completion, Job
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.run.errors import UserError
from stages.run.files import read_json, write_table
from stages.video.frame_store import FRAME_KEYS_SCHEMA
from tests.asking.kills import run_whole_and_cut
from tests.evaluation.prepared import PARAMS, evaluate, prepare
from tests.model.tiny_models import write_qwen2_5
from tests.warm import Started, start


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen2_5(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a prepared benchmark, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    return tmp_path


def count_jobs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each round asks from now on."""
    asked: list[int] = []
    real = engines.generate_continuously

    def counted(
        model: PreTrainedModel, builder: PromptBuilder, jobs: Iterable[Job], sampling: Sampling, room: Room
    ) -> Iterator[dict[int, list[Completion]]]:
        listed = list(jobs)
        asked.append(len(listed))
        return real(model, builder, listed, sampling, room)

    monkeypatch.setattr(engines, "generate_continuously", counted)
    return asked


def test_faithfulness_is_measured_on_request_and_changes_nothing_else(model: Path, place: Path) -> None:
    rows = evaluate(PARAMS, model, place)
    measured = evaluate(PARAMS.model_copy(update={"faithfulness": 4}), model, place, "measured")
    assert measured == rows
    plain, found = read_json(place / "metrics.json"), read_json(place / "measured.json")
    assert found.pop("faithfulness")["looks"] | {"low": 0, "high": 0} == {"value": 0, "low": 0, "high": 0, "n": 5}
    assert found == plain
    with pytest.raises(ValidationError, match="faithfulness needs engine 'transformers' and the order 'shuffled'"):
        EvaluateParams(faithfulness=4, orders=("ordered", "blind"))


def test_every_question_with_frames_is_answered_in_every_order_and_images_once(model: Path, place: Path) -> None:
    rows = evaluate(PARAMS, model, place)
    assert [(row["sample_id"], row["order"]) for row in rows] == [
        *((f"v{index}", order) for index in range(5) for order in ("ordered", "shuffled")),
        ("i0", "ordered"),
    ]
    assert {(row["n_frames"], row["width"], row["height"]) for row in rows} == {(4, 48, 32), (1, 48, 32)}
    assert {row["status"] for row in rows} == {"truncated"}
    assert {tuple(row["frame_order"]) for row in rows if row["order"] == "ordered"} == {(0, 1, 2, 3), (0,)}
    assert all(
        sorted(row["frame_order"]) == [0, 1, 2, 3] != row["frame_order"] for row in rows if row["order"] == "shuffled"
    )
    assert all(row["tokens"] == 6 and row["text"] for row in rows)
    metrics = read_json(place / "metrics.json")
    assert (metrics["n"], metrics["n_missing"], metrics["truncated"]) == (6, 1, 1)
    assert {
        "accuracy",
        "temporal",
        "static",
        "temporal_shuffled",
        "temporal_shuffled_gap",
        "well_formed",
    } <= metrics.keys()


def test_a_checkpoint_of_others_is_asked_in_its_own_words(model: Path, place: Path) -> None:
    plain = evaluate(PARAMS, model, place)
    rows = evaluate(PARAMS.model_copy(update={"prompt": "onethinker"}), model, place)
    assert read_json(place / "metrics.json")["asked"]["prompt"] == "onethinker"
    assert [row["text"] for row in rows] != [row["text"] for row in plain]
    served = PARAMS.model_copy(update={"prompt": "onethinker"}).asking("served", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match=r"write it as server.prompt"):
        evaluate(served.model_copy(update={"server": ServerParams(base_url="x", payload="images")}), model, place)


def test_quarantined_questions_count_as_missing_and_are_named(
    model: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_rejects(
        place / "quarantine.parquet",
        [Reject(sample_id=f"q{index}", stage="benchmark", reason="corrupt") for index in range(12)],
    )
    evaluate(PARAMS, model, place)
    metrics = read_json(place / "metrics.json")
    assert (metrics["n"], metrics["n_missing"]) == (6, 13)
    assert "counted as missing: q0 (corrupt), q1 (corrupt)" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("q9 (corrupt) and 2 more")


def test_alone_it_needs_a_model_a_benchmark_and_its_folder_and_writes_beside_the_graph(
    model: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(PARAMS, Candidate(str(model)), Wanted("shapes", place))
    assert read_json(place / "evaluations" / f"tiny-{place.name}.json")["n"] == 6
    with pytest.raises(UserError, match="holds questions of shapes, not of mmvu"):
        run(PARAMS, Candidate(str(model)), Wanted("mmvu", place))
    write_samples(
        place / "samples.parquet",
        [sample.model_copy(update={"source": "mmvu"}) for sample in read_samples(place / "samples.parquet")],
    )
    run(PARAMS, Candidate(str(model)), Wanted("mmvu", place))
    assert "Video-R1-7B at 16 frames 64.2, Video-R1-7B at 32 frames 63.8" in caplog.messages[-1]
    with pytest.raises(UserError, match=r"no prepared benchmark; first run `python -m stages.benchmark --name mvbench"):
        run(PARAMS, Candidate(str(model)), Wanted("mvbench", place / "nowhere"))


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(model: Path, place: Path) -> None:
    evaluate(PARAMS, model, place, "first")
    for work in (place / ".work").rglob("*.jsonl"):
        work.unlink()
    evaluate(PARAMS, model, place, "second")
    for name in ("parquet", "json"):
        assert (place / f"first.{name}").read_bytes() == (place / f"second.{name}").read_bytes()


def test_a_run_cut_off_between_answers_goes_on_and_ends_with_the_same_files(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(PARAMS, model, place, "whole")
    (journal,) = (place / ".work").rglob("outputs.jsonl")
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 11
    journal.write_bytes(b"".join(lines[:8]) + lines[8][:20])  # what a kill leaves: whole lines and a torn one
    asked = count_jobs(monkeypatch)
    evaluate(PARAMS, model, place, "resumed")
    assert asked == [5]  # the six in order are not asked again, the five shuffled ones in one round
    assert len(journal.read_bytes().splitlines()) == 11  # and the two of them that were there are not written again
    for name in ("parquet", "json"):
        assert (place / f"whole.{name}").read_bytes() == (place / f"resumed.{name}").read_bytes()


@pytest.mark.slow
def test_an_evaluation_killed_between_answers_ends_with_the_files_of_an_uninterrupted_one(
    model: Path, place: Path
) -> None:
    settings = {"defaults": PARAMS.model_dump(mode="json") | {"max_new_tokens": 64, "batch_tokens": 1}}
    (place / "params.yaml").write_text(json.dumps({"evaluate": settings}))
    run_whole_and_cut(lambda name: _as_a_process(model, place, name), place / ".work" / "evaluate", 11, "{}.parquet")
    assert (place / "whole.json").read_bytes() == (place / "cut.json").read_bytes()


def test_other_parameters_do_not_find_the_old_answers(model: Path, place: Path) -> None:
    evaluate(PARAMS, model, place)
    rows = evaluate(PARAMS.model_copy(update={"max_new_tokens": 3}), model, place)
    assert {row["tokens"] for row in rows} == {3}


def test_one_more_order_asks_nothing_again_and_changes_no_answer(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = evaluate(PARAMS, model, place)
    asked = count_jobs(monkeypatch)
    after = evaluate(
        PARAMS.model_copy(update={"orders": ("ordered", "shuffled", "reversed"), "profile": "video-r1"}), model, place
    )
    assert sum(asked) == 5  # the videos, reversed
    assert [row for row in after if row["order"] != "reversed"] == before
    metrics = read_json(place / "metrics.json")
    assert {"accuracy_shuffled_gap", "accuracy_reversed_gap"} <= metrics.keys()


def test_blind_questions_are_asked_without_frames_images_too_and_change_no_other_answer(
    model: Path, place: Path
) -> None:
    before = evaluate(PARAMS, model, place)
    rows = evaluate(PARAMS.model_copy(update={"orders": ("ordered", "shuffled", "blind")}), model, place)
    assert [row for row in rows if row["order"] != "blind"] == before
    blind = [row for row in rows if row["order"] == "blind"]
    assert [row["sample_id"] for row in blind] == ["v0", "v1", "v2", "v3", "v4", "i0"]
    assert {(tuple(row["frame_order"]), row["n_frames"], row["width"], row["height"]) for row in blind} == {
        ((), 0, 0, 0)
    }
    assert blind[0]["text"] == blind[3]["text"]  # the same question about two clips
    metrics = read_json(place / "metrics.json")
    assert {"accuracy_blind", "accuracy_blind_gap", "accuracy_blind_gap_low"} <= metrics.keys()
    assert metrics["shown"] == "1–4 frames of 48×32"
    assert {gap["n"] for gap in metrics["gaps"] if gap["order"] == "blind" and gap["slice"] == "all"} == {6}


def test_the_budget_changes_batches_but_not_answers(model: Path, place: Path) -> None:
    in_batches = evaluate(PARAMS, model, place)
    one_by_one = evaluate(PARAMS.model_copy(update={"batch_tokens": 1}), model, place)
    assert [row["text"] for row in in_batches] == [row["text"] for row in one_by_one]


def test_sampling_draws_the_same_answers_for_the_same_seed_only(model: Path, place: Path) -> None:
    sampled = PARAMS.model_copy(update={"temperature": 1.0})
    first = [row["text"] for row in evaluate(sampled, model, place)]
    assert first == [row["text"] for row in evaluate(sampled.model_copy(update={"batch_tokens": 1}), model, place)]
    assert first != [row["text"] for row in evaluate(sampled.model_copy(update={"seed": 1}), model, place)]


def test_no_frames_at_all_is_one_clear_line(model: Path, place: Path) -> None:
    write_table(place / "frames.parquet", [], FRAME_KEYS_SCHEMA)
    with pytest.raises(UserError, match="none of the 7 questions has frames"):
        evaluate(PARAMS, model, place)


def test_parameters_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="orders must hold 'ordered'"):
        EvaluateParams(orders=("shuffled",))
    with pytest.raises(ValueError, match="needs a 'server'"):
        EvaluateParams(engine="openai")


def test_the_log_holds_one_table(model: Path, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        evaluate(PARAMS, model, place)
    title, header, *rows = caplog.messages[-1].splitlines()
    assert title == (
        "tiny on shapes, official profile: 6 scored, 1 missing, 0 only a judge could score; "
        "0.0% without an answer, 0.0% that name no option, 100.0% truncated; 1–4 frames of 48×32"
    )
    assert header.split() == ["n", "ordered", "shuffled", "gap"]
    assert [row.split()[:2] for row in rows[:3]] == [["all", "6"], ["temporal", "5"], ["static", "1"]]
    assert rows[2].split()[-2:] == ["–", "–"]  # the only static question is an image, which has one order


def test_another_models_predictions_are_compared_question_by_question(
    model: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = evaluate(PARAMS, model, place, "first")
    right = [
        row | {"official": 1.0} for row in first if row["sample_id"] != "v0"
    ]  # another model, right wherever it was asked
    write_table(
        place / "right.parquet", right, with_conditions(PREDICTION_SCHEMA, read_json(place / "first.json")["asked"])
    )
    with caplog.at_level(logging.INFO):
        run(PARAMS, Candidate(str(model)), Wanted("shapes", place), Tables(against=place / "right.parquet"))
    assert (
        f"against {place / 'right.parquet'}: -100.0 [-100.0, -19.6] points on 5 common questions" in caplog.messages[-1]
    )
    assert caplog.messages[-1].endswith("McNemar's p = 0.062")  # five of five lost: 2 / 2⁵


@pytest.mark.parametrize(
    ("file", "said"),
    [("nowhere.parquet", "cannot be read"), ("frames.parquet", "but not of predictions"), ("frames", "is a folder")],
)
def test_what_holds_no_predictions_cannot_be_compared_with(model: Path, place: Path, file: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(PARAMS, Candidate(str(model)), Wanted("shapes", place), Tables(against=place / file))


def _as_a_process(model: Path, place: Path, name: str) -> Started:
    """The command line in a process; its predictions are `<name>.parquet`."""
    flags = {"model": model, "benchmark": "shapes", "data": place, "name": name}
    flags |= {"predictions": place / f"{name}.parquet", "metrics": place / f"{name}.json"}
    words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    return start("stages.evaluate", words, place)
