from dataclasses import replace
from pathlib import Path

import pytest

from flows.graph import Snapshot, Stage
from flows.lineage import code_of, commits, lineage_rows, parameter_rows
from tests.flows.conftest import git

FOLDER = "11111111aaaa.dir"
INGEST = Stage(
    "ingest",
    (),
    {"data/samples.parquet": "22222222aaaa"},
    {"data/video-r1": FOLDER, "stages/ingest.py": "c0de", "stages/video": FOLDER},
    params={"ingest": {"root": "data/video-r1"}},
)
SFT = Stage(
    "sft",
    ("ingest",),
    {"models/sft": "33333333aaaa.dir"},
    {"data/samples.parquet": "22222222aaaa", "stages/sft.py": "c0de"},
    params={"sft": {"seed": 0}},
)
OTHER = Stage(
    "report",
    ("evaluate@sft",),
    {"report/index.html": "5555"},
    {"metrics/sft.json": "44444444aaaa"},
    params={"report": {}},
)
EVALUATE = Stage(
    "evaluate@sft",
    ("sft",),
    {"metrics/sft.json": "44444444aaaa", "predictions/sft.parquet": "6666"},
    {"models/sft": "33333333aaaa.dir", "stages/evaluate.py": "c0de"},
    ("metrics/sft.json",),
    {"evaluate": {"seed": 0}},
)
SEED_0 = "de7d7744"  # printf '{"seed": 0}' | sha256sum


def test_an_evaluation_is_traced_to_sources_parameters_and_commit() -> None:
    [row] = lineage_rows(Snapshot([INGEST, SFT, EVALUATE, OTHER], {"report"}, {}), {"evaluate@sft": "8a6bb0f"})
    assert row["numbers"] == "metrics/sft.json"
    assert row["data"] == "data/video-r1 11111111, data/samples.parquet 22222222, models/sft 33333333"
    assert [part.split()[0] for part in row["parameters"].split(", ")] == ["ingest", "sft", "evaluate"]
    assert row["parameters"].endswith(f"sft {SEED_0}, evaluate {SEED_0}")
    assert (row["commit"], row["outdated"]) == ("8a6bb0f", "")


def test_a_model_trained_anew_leaves_its_old_evaluation_outdated_and_so_does_code_that_was_edited_and_not_run() -> None:
    trained_anew = replace(SFT, outs={"models/sft": "99999999aaaa.dir"})
    [row] = lineage_rows(Snapshot([INGEST, trained_anew, EVALUATE], {"evaluate@sft"}, {}), {"evaluate@sft": "8a6bb0f"})
    assert row["data"].endswith("models/sft 33333333")
    assert row["outdated"] == "evaluate@sft"
    [row] = lineage_rows(Snapshot([INGEST, SFT, EVALUATE], {"ingest", "sft"}, {}), {"evaluate@sft": "8a6bb0f"})
    assert row["outdated"] == "ingest, sft"


def test_an_evaluation_that_never_ran_has_no_lineage() -> None:
    never = Snapshot([replace(EVALUATE, outs={"metrics/sft.json": ""})], {"evaluate@sft"}, {})
    assert lineage_rows(never, {"evaluate@sft": "8a6bb0f"}) == []


def test_the_hashes_of_parameters_are_explained() -> None:
    assert parameter_rows([SFT]) == [{"section": "sft", "hash": SEED_0, "values": '{"seed": 0}'}]


def test_the_code_of_a_chain_is_what_is_neither_made_nor_a_source_folder() -> None:
    assert code_of([INGEST, SFT, EVALUATE]) == [
        "stages/evaluate.py",
        "stages/ingest.py",
        "stages/sft.py",
        "stages/video",
    ]


@pytest.mark.integration
def test_an_edit_in_a_folder_of_code_is_named(tmp_path: Path) -> None:
    code = tmp_path / "stages" / "video" / "decode.py"
    code.parent.mkdir(parents=True)
    code.write_text("1")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "code")
    assert "edited" not in commits(tmp_path, [INGEST, SFT, EVALUATE])["evaluate@sft"]
    code.write_text("2")
    (tmp_path / "stages" / "videos.py").touch()
    assert commits(tmp_path, [INGEST, SFT, EVALUATE])["evaluate@sft"].endswith(" and edited stages/video/decode.py")
