"""The probe on a tiny random model and on a server that always answers B."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.asking.server_engine import ServerParams
from stages.data.conditions import Conditions, read_conditions, with_conditions
from stages.data.probed import PROBED_SCHEMA
from stages.data.sample import TRAINING_SCHEMA, Reject, read_rejects, read_samples, write_rejects
from stages.probe import ProbeParams, run
from stages.run.errors import UserError
from stages.run.files import read_json, write_table
from tests.asking.kills import run_whole_and_cut
from tests.evaluation.prepared import prepare
from tests.evaluation.test_served_models import Server
from tests.model.tiny_models import write_qwen2_5
from tests.test_evaluate import count_jobs
from tests.warm import Started, start

PARAMS = ProbeParams(answers=2, max_new_tokens=6, batch_tokens=400, threads=1)
EARLIER = [Reject(sample_id="gone", stage="filter rl", reason="duplicates", detail="as v0")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen2_5(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an RL set: v0, v2 and v4 (the answer is B), v1 and v3 (A), i0 a picture with a text on it."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    keys = {row["sample_id"]: row["frame_key"] for row in pq.read_table("frames.parquet").to_pylist()}
    rows = []
    for sample in read_samples(Path("samples.parquet")):
        if sample.sample_id in ("v1", "v3"):
            sample = sample.model_copy(update={"answer": "A"})
        if sample.sample_id == "i0":
            sample = sample.model_copy(update={"problem_type": "OCR", "options": (), "answer": "STOP"})
        if sample.sample_id in keys:
            rows.append(sample.model_dump() | {"frame_key": keys[sample.sample_id]})
    write_table(Path("data/rl.parquet"), rows, TRAINING_SCHEMA)
    write_rejects(Path("data/rejects.parquet"), EARLIER)
    return tmp_path


def probe(params: ProbeParams, model: Path | str, name: str = "tiny") -> list[dict[str, object]]:
    """Run the stage; the rows of its table of answers."""
    run(
        params, name, str(model), Path("data"), Path("frames"),
        Path(f"{name}.parquet"), Path(f"probed/{name}"), Path(f"{name}.json"),
    )  # fmt: skip
    return pq.read_table(f"{name}.parquet").to_pylist()


def served(server: Server, **changes: object) -> ProbeParams:
    """Parameters that ask a server."""
    return PARAMS.model_copy(
        update={"engine": "openai", "server": ServerParams(base_url=server.url, concurrency=1), **changes}
    )


def kept(name: str = "tiny") -> list[str]:
    return [sample.sample_id for sample in read_samples(Path(f"probed/{name}/rl.parquet"))]


def test_each_question_is_answered_several_times_in_each_showing(model: Path, place: Path) -> None:
    rows = probe(PARAMS, model)
    assert Counter((row["sample_id"], row["order"]) for row in rows) == {
        **{(f"v{index}", order): 2 for index in range(5) for order in ("ordered", "shuffled", "blind")},
        ("i0", "ordered"): 2,
        ("i0", "blind"): 2,
    }
    texts = [row["text"] for row in rows]
    assert sum(first != second for first, second in zip(texts[::2], texts[1::2], strict=True)) > 10
    assert {row["grade"] for row in rows} == {0.0}
    showings = read_json(place / "tiny.json")["showings"]
    assert {order: counts["answers"] for order, counts in showings.items()} == {
        "ordered": 12,
        "shuffled": 10,
        "blind": 12,
    }
    assert showings["blind"]["tokens"] == 12 * 6
    assert showings["blind"]["questions"] == 6


def test_without_rules_the_set_and_the_rejects_keep_their_bytes(model: Path, place: Path) -> None:
    probe(PARAMS, model)
    for name in ("rl.parquet", "rejects.parquet"):
        assert (place / "probed" / "tiny" / name).read_bytes() == (place / "data" / name).read_bytes()


def test_rules_drop_questions_into_the_table_of_rejects_and_are_counted(place: Path) -> None:
    """The server always answers B: right about v0, v2 and v4, also without frames."""
    with Server(failing=0) as server:
        rows = probe(served(server, rules=("needs_video",)), "served")
        assert {request["seed"] for request in server.requests} == {0, 1}
    assert {(row["sample_id"], row["grade"]) for row in rows if row["sample_id"] in ("v0", "v1", "i0")} == {
        ("v0", 1.0),
        ("v1", 0.0),
        ("i0", 0.0),
    }
    assert kept() == ["v1", "v3", "i0"]
    detail = "2 of 2 answers without frames are right, not below 0.5"
    assert read_rejects(place / "probed/tiny/rejects.parquet") == [
        *EARLIER,
        *(Reject(sample_id=name, stage="probe", reason="needs_video", detail=detail) for name in ("v0", "v2", "v4")),
    ]
    metrics = read_json(place / "tiny.json")
    assert metrics["rl"]["dropped"] == {"needs_video": 3}
    assert (metrics["rl"]["in"], metrics["rl"]["kept"], metrics["rl"]["by_type"]["OCR"]["kept"]) == (6, 3, 1)
    assert metrics["kept_by_each_rule_alone"] == {"needs_video": 3, "needs_order": 1, "learnable": 0}  # i0: a picture
    assert metrics["showings"]["blind"]["right"] == 0.5


def test_a_rule_that_drops_every_question_is_refused_with_the_counts(place: Path) -> None:
    with Server(failing=0) as server, pytest.raises(UserError, match=r"6 in, learnable −6, 0 kept.*probe\.rules"):
        probe(served(server, rules=("learnable",)), "served")
    assert len(read_rejects(place / "probed/tiny/rejects.parquet")) == 7
    assert not (place / "probed/tiny/rl.parquet").exists()


def test_a_change_of_a_rule_asks_nothing_again_also_in_a_new_clone(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(PARAMS, model)
    before = (place / "tiny.parquet").read_bytes()
    shutil.rmtree(place / ".work")
    asked = count_jobs(monkeypatch)
    probe(PARAMS.model_copy(update={"rules": ("needs_video",), "max_blind": 0.25, "right_above": 0.9}), model)
    assert asked == []
    assert (place / "tiny.parquet").read_bytes() == before
    assert len(kept()) == 6


@pytest.mark.parametrize("change", ["seed", "question", "code", "answers", "model"])
def test_another_way_of_asking_asks_again(
    change: str, model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(PARAMS, model)
    shutil.rmtree(place / ".work")
    params = PARAMS
    match change:
        case "seed":
            params = PARAMS.model_copy(update={"seed": 1})
        case "answers":
            params = PARAMS.model_copy(update={"answers": 3})
        case "question":
            rows = pq.read_table("data/rl.parquet").to_pylist()
            write_table(Path("data/rl.parquet"), [row | {"problem": "What is it?"} for row in rows], TRAINING_SCHEMA)
        case "code":
            found: Conditions = {**(read_conditions(Path("tiny.parquet")) or {}), "code": {"stages/probe.py": "0"}}
            schema = with_conditions(PROBED_SCHEMA, found)
            write_table(Path("tiny.parquet"), pq.read_table("tiny.parquet").to_pylist(), schema)
        case "model":
            model = Path(shutil.copytree(model, place / "model"))
            config = read_json(model / "config.json")
            (model / "config.json").write_text(json.dumps(config, indent=1))
    asked = count_jobs(monkeypatch)
    probe(params, model)
    assert sum(asked) == 17  # five clips in three showings, the picture in two


def test_a_probe_cut_off_between_answers_goes_on_and_ends_with_the_same_files(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe(PARAMS, model)
    (journal,) = (place / ".work").rglob("outputs.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 34
    journal.write_bytes(b"".join(lines[:15]) + lines[15][:20])  # what a kill leaves: whole lines and a torn one
    whole = {name: Path(name).read_bytes() for name in ("tiny.parquet", "probed/tiny/rl.parquet", "tiny.json")}
    Path("tiny.parquet").unlink()
    asked = count_jobs(monkeypatch)
    probe(PARAMS, model)
    assert asked == [5, 6]  # the six in order are not asked again
    assert {name: Path(name).read_bytes() for name in whole} == whole


@pytest.mark.slow
def test_a_killed_probe_ends_with_the_files_of_an_uninterrupted_one(model: Path, place: Path) -> None:
    settings = PARAMS.model_dump(mode="json") | {"max_new_tokens": 64, "batch_tokens": 1, "rules": ["needs_video"]}
    (place / "params.yaml").write_text(json.dumps({"probe": settings}))
    run_whole_and_cut(lambda name: as_a_process(model, place, name), place / ".work" / "probe", 34, "{}.parquet")
    assert (place / "probed/whole/rl.parquet").read_bytes() == (place / "probed/cut/rl.parquet").read_bytes()


def test_a_failed_request_counts_as_no_answer_and_is_asked_again(place: Path) -> None:
    with Server() as server:
        params = served(server, max_failed=0.5)
        assert [row["grade"] for row in probe(params, "served")].count(None) == 1
        assert read_json(place / "tiny.json")["showings"]["ordered"]["failed"] == 1
        asked = len(server.requests)
        assert None not in [row["grade"] for row in probe(params, "served")]
        assert len(server.requests) == asked + 1
        probe(params, "served")
        assert len(server.requests) == asked + 1


def test_where_every_request_fails_no_question_is_dropped_and_no_share_is_made_up(place: Path) -> None:
    with Server(failing=1) as server:
        params = served(server, max_failed=1.0, orders=("blind",), answers=1, rules=("needs_video",))
        write_table(Path("data/rl.parquet"), pq.read_table("data/rl.parquet").to_pylist()[:1], TRAINING_SCHEMA)
        probe(params, "served")
    assert kept() == ["v0"]
    metrics = read_json(place / "tiny.json")
    assert metrics["showings"]["blind"] == {"questions": 1, "answers": 1, "failed": 1, "tokens": 0, "right": None}
    assert metrics["kept_by_each_rule_alone"] == {"needs_video": 1}  # nothing was shown in order


def test_parameters_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="needs_video needs the showing blind: add it to orders"):
        ProbeParams(rules=("needs_video",), orders=("ordered",))
    with pytest.raises(ValueError, match="each order once"):
        ProbeParams(orders=("blind", "blind"))
    with pytest.raises(ValueError, match="all answers are the same"):
        ProbeParams(temperature=0.0)


def as_a_process(model: Path, place: Path, name: str) -> Started:
    """The command line in a process; the files are called `name`."""
    words = ["--name", name, "--model", str(model), "--questions", "data", "--frame-store", "frames"]
    words += ["--answers", f"{name}.parquet", "--out", f"probed/{name}", "--metrics", f"{name}.json"]
    return start("stages.probe", words, place)


def test_absent_questions_are_one_line_with_the_stage_that_writes_them(tmp_path: Path) -> None:
    places = (tmp_path / "frames", tmp_path / "answers", tmp_path / "out", tmp_path / "metrics")
    with pytest.raises(UserError, match=r"rl.parquet: not there; `dvc repro filter` writes it"):
        run(ProbeParams(), "tiny", "model", tmp_path, *places)
