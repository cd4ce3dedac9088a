"""The filter stage: verdicts, counts and output files."""

import itertools
import json
import logging
from pathlib import Path

import pytest

from stages.curation.thought_rules import THOUGHT_RULES
from stages.data.sample import read_rejects, read_samples
from stages.filter import FilterParams
from stages.run.errors import UserError
from stages.run.files import read_json
from tests.curation.filtering import GOOD, WRONG, annotation, filtered, sample


def test_each_sample_ends_in_a_set_or_among_the_rejects_with_its_rule(tmp_path: Path) -> None:
    samples = [
        sample(1, "sft"),
        sample(2, "sft"),
        sample(3, "sft"),
        sample(4, "rl"),
        sample(5, "train"),
        sample(6, "test"),
        sample(7, "sft"),
    ]
    annotations = [
        annotation(1, GOOD),
        annotation(2, WRONG),
        annotation(3, "left", "malformed", "no tags"),
        annotation(5, WRONG),
    ]
    out = filtered(tmp_path, FilterParams(), samples, annotations)
    assert [(kept.sample_id, kept.process) for kept in read_samples(out["sft"])] == [
        ("s1", "<think>it goes left</think>")
    ]
    assert [(kept.sample_id, kept.process) for kept in read_samples(out["rl"])] == [("s4", None), ("s5", None)]
    assert [
        (reject.sample_id, reject.stage, reject.reason, reject.detail) for reject in read_rejects(out["rejects"])
    ] == [
        ("s2", "filter sft", "correctness", "'B' for 'A': 0.00, not above 0.6"),
        ("s3", "filter sft", "well_formed", "not <think>…</think><answer>…</answer>: 'left'"),
        ("s5", "filter sft", "correctness", "'B' for 'A': 0.00, not above 0.6"),
        ("s7", "filter sft", "answered", "failed: no answer"),
    ]


def test_the_funnel_counts_per_rule_source_and_type(tmp_path: Path) -> None:
    samples = [sample(1, "sft"), sample(2, "sft", source="other"), sample(3, "rl")]
    out = filtered(
        tmp_path,
        FilterParams(rules=("well_formed", "correctness")),
        samples,
        [annotation(1, GOOD), annotation(2, WRONG)],
    )
    assert read_json(out["metrics"])["sft"] == {
        "in": 2,
        "dropped": {"frames": 0, "well_formed": 0, "correctness": 1},
        "kept": 1,
        "by_source": {
            "other": {"in": 1, "dropped": {"frames": 0, "well_formed": 0, "correctness": 1}, "kept": 0},
            "shapes": {"in": 1, "dropped": {"frames": 0, "well_formed": 0, "correctness": 0}, "kept": 1},
        },
        "by_type": {
            "multiple choice": {"in": 2, "dropped": {"frames": 0, "well_formed": 0, "correctness": 1}, "kept": 1}
        },
    }
    assert read_json(out["metrics"])["rl"]["kept"] == 1


def test_the_rules_run_in_the_order_of_the_parameters(tmp_path: Path) -> None:
    both_wrong = [annotation(1, "<think>球</think>\n<answer>B</answer>"), annotation(2, GOOD)]
    reasons = []
    for rules in (("correctness", "language"), ("language", "correctness")):
        params = FilterParams.model_validate({"rules": rules})
        out = filtered(tmp_path, params, [sample(1, "sft"), sample(2, "sft")], both_wrong)
        reasons.append(read_rejects(out["rejects"])[0].reason)
    assert reasons == ["correctness", "language"]


def test_rules_without_a_memory_keep_the_same_samples_in_every_order(tmp_path: Path) -> None:
    texts = ["left", "球", "it goes left. Option B.", "left <|im_end|>", "one two three four five " * 4, " "]
    answers = [annotation(number, f"<think>{text}</think>\n<answer>A</answer>") for number, text in enumerate(texts)]
    answers += [
        annotation(6, WRONG),
        annotation(7, "<think>it", "truncated"),
        annotation(8, "", "refused", "content_filter"),
    ]
    kept, reasons = set[tuple[str, ...]](), set[str]()
    for shift, step in itertools.product(range(len(THOUGHT_RULES)), (1, -1)):
        rules = (*THOUGHT_RULES, *THOUGHT_RULES)[shift : shift + len(THOUGHT_RULES)][::step]
        samples = [sample(number, "sft") for number in range(9)]
        out = filtered(tmp_path, FilterParams.model_validate({"rules": rules}), samples, answers)
        kept.add(tuple(each.sample_id for each in read_samples(out["sft"])))
        reasons |= {reject.reason for reject in read_rejects(out["rejects"])}
    assert kept == {("s0",)}
    assert reasons == set(THOUGHT_RULES) - {"length"}


def test_the_first_answer_that_passes_every_rule_becomes_the_thought(tmp_path: Path) -> None:
    long = GOOD.replace("it goes left", "first red then left")
    answers = [annotation(1, WRONG), annotation(1, long), annotation(1, GOOD)]
    out = filtered(tmp_path, FilterParams(), [sample(1, "sft")], answers)
    assert read_samples(out["sft"])[0].process == "<think>first red then left</think>"


def test_difficulty_chooses_the_rl_set_by_pass_rate(tmp_path: Path) -> None:
    samples = [sample(1, "train"), sample(2, "train")]
    answers = [annotation(1, GOOD), annotation(1, WRONG), annotation(2, GOOD), annotation(2, GOOD)]
    out = filtered(tmp_path, FilterParams(rules=("correctness", "difficulty")), samples, answers)
    assert [kept.sample_id for kept in read_samples(out["sft"])] == ["s1", "s2"]
    assert [kept.sample_id for kept in read_samples(out["rl"])] == ["s1"]


def test_difficulty_says_when_no_question_was_asked_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = FilterParams(rules=("difficulty",))
    filtered(tmp_path, params, [sample(1, "train"), sample(2, "rl")], [annotation(1, GOOD), annotation(1, WRONG)])
    assert "asked twice" not in caplog.text
    filtered(tmp_path, params, [sample(1, "train"), sample(2, "rl")], [annotation(1, GOOD)])
    assert "no question of the RL set was asked twice; set annotate.n to 2" in caplog.text


def test_a_cap_on_a_source_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    params = FilterParams(rules=("balance",), max_per_source={"shape": 1})
    with pytest.raises(UserError, match="max_per_source names 'shape', but no sample comes from it; sources: shapes"):
        filtered(tmp_path, params, [sample(1, "sft"), sample(2, "rl")], [annotation(1, GOOD)])


def test_an_empty_set_is_one_line_with_the_funnel(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no samples left for sft \(1 in, frames −0, .*correctness −1.* 0 kept\)"
    ) as error:
        filtered(tmp_path, FilterParams(), [sample(1, "sft"), sample(2, "rl")], [annotation(1, WRONG)])
    assert "\n" not in str(error.value)
    assert len(read_rejects(tmp_path / "rejects.parquet")) == 1


def test_equal_inputs_give_equal_bytes_and_answers_out_of_order_are_refused(tmp_path: Path) -> None:
    samples, answers = [sample(1, "sft"), sample(2, "sft")], [annotation(1, GOOD), annotation(2, GOOD)]
    first = {name: path.read_bytes() for name, path in filtered(tmp_path, FilterParams(), samples, answers).items()}
    assert first == {
        name: path.read_bytes() for name, path in filtered(tmp_path, FilterParams(), samples, answers).items()
    }
    with pytest.raises(UserError, match=r"annotations.parquet has rows for s1, .* run the stage that writes"):
        filtered(tmp_path, FilterParams(), samples, answers[::-1])


def test_the_sft_set_is_also_written_in_video_r1s_own_format(tmp_path: Path) -> None:
    filtered(
        tmp_path,
        FilterParams(),
        [sample(1, "sft")],
        [annotation(1, GOOD)],
        json=tmp_path / "sft.json",
        media=Path("media"),
    )
    [record] = json.loads((tmp_path / "sft.json").read_text())
    assert (record["process"], record["solution"], record["path"]) == (
        "<think>it goes left</think>",
        "<answer>A</answer>",
        "./1.mp4",
    )


def test_both_sets_are_also_written_as_a_dataset_with_a_card(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = [sample(1, "sft"), sample(2, "rl")]
    with caplog.at_level(logging.INFO):
        out = filtered(tmp_path, FilterParams(), samples, [annotation(1, GOOD)], dataset=tmp_path / "dataset")
    assert f"both sets with a card → {tmp_path / 'dataset'}" in caplog.text
    for name in ("sft", "rl"):
        assert (tmp_path / "dataset" / f"{name}.parquet").read_bytes() == out[name].read_bytes()
    assert "| rl | shapes | video | multiple choice | 1 |" in (tmp_path / "dataset" / "README.md").read_text()
    with pytest.raises(UserError, match="--push uploads what --dataset writes"):
        filtered(tmp_path, FilterParams(), samples, [annotation(1, GOOD)], push="me/curated")
