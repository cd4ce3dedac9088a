"""Recorded outputs, and the list of benchmarks."""

import json
from pathlib import Path

import pytest

from stages.evaluation.benchmarks import get_benchmark, names
from stages.evaluation.definition import extract
from stages.evaluation.selfcheck import RECORDED, Recorded, selfcheck_text
from stages.evaluation.text_summary import benchmarks_text
from stages.run.errors import UserError
from stages.run.files import read_json


def test_every_recorded_output_has_its_official_score_and_every_benchmark_has_some() -> None:
    told = selfcheck_text()
    assert f"all {2 * len(read_json(RECORDED))} recorded scores" in told
    assert [name for name in names() if name != "shapes" and f"  {name}: " not in told] == []


@pytest.mark.parametrize(("score", "said"), [(0.5, "0.0, and not 0.5"), (None, "0.0, and not None")])
def test_a_scorer_that_gives_another_score_is_named(tmp_path: Path, score: float | None, said: str) -> None:
    first, *others = read_json(RECORDED)
    changed = first | {"output": "<answer>none</answer>", "official": score, "rule": "a made-up rule"}
    (tmp_path / "recorded.json").write_text(json.dumps([changed | {"video-r1": 0.0}, *others]))
    with pytest.raises(UserError, match=f"{first['benchmark']}, official: a made-up rule: {said}"):
        selfcheck_text(tmp_path / "recorded.json")


def test_the_recorded_relative_accuracies_are_those_of_the_official_code(testdata: Path) -> None:
    table = read_json(testdata / "golden" / "vsibench_mra.json")["mra_table"]
    golden = {(float(pair["pred"]), float(pair["target"])): pair for pair in table}
    recorded = [Recorded.model_validate(entry) for entry in read_json(RECORDED)]
    numbers = [(each, extract(each.output, "official") or "") for each in recorded if each.problem_type == "regression"]
    known = [
        (each, golden[float(text), float(each.answer)])
        for each, text in numbers
        if text.replace(".", "").isdigit() and (float(text), float(each.answer)) in golden
    ]
    assert len(known) >= 4
    for each, pair in known:
        assert each.official == pytest.approx(pair["official_mra"]), each.rule
        assert each.video_r1 == pytest.approx(pair["videor1_mra_f32_emulated"]), each.rule


def test_the_list_names_every_public_benchmark_with_what_was_checked() -> None:
    told = benchmarks_text()
    for name in names():
        about = get_benchmark(name).about
        if name == "shapes":
            assert about is None
            continue
        assert about is not None, name
        assert about.questions > 0, name
        assert f"{name}: {about.questions:,} questions; {about.metric}" in told
    assert told.splitlines()[0] == f"{len(names()) - 1} benchmarks"
