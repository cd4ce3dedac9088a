"""Runs of few steps whose figures must follow from each other."""

import json
from pathlib import Path

import pytest

from stages.rl.loss import LossName, LossParams
from tests.rl.runs import alone, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_inputs` leaves."""
    return write_inputs(tmp_path_factory.mktemp("tgrpo"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "cispo"])
def test_the_gradient_of_a_step_does_not_depend_on_how_it_is_cut_into_forwards(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: LossName
) -> None:
    change = {"loss": LossParams(name=name), "max_steps": 1}
    norms = [
        float(
            alone(change | {"questions_per_forward": size}, inputs, tmp_path / str(size), monkeypatch)[0]["grad_norm"]
        )
        for size in (1, 2)
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] > 0


@pytest.mark.slow
def test_the_updates_of_a_rollout_share_its_responses_and_move_away_from_it(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {
        "updates_per_rollout": 2,
        "warmup_steps": 0,
        "max_steps": 4,
        "loss": LossParams(clip_low=0.1, clip_high=0.3),
    }
    first, second, third, _ = alone(change, inputs, tmp_path / "run", monkeypatch)
    assert (first["reward"], first["p_contrast"]) == (second["reward"], second["p_contrast"])
    assert first["reward"] != third["reward"]
    assert float(first["kl"]) == pytest.approx(0.0, abs=1e-6)
    assert float(second["kl"]) > 1e-6


@pytest.mark.slow
def test_the_moving_std_follows_the_rewards_that_it_scales(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In mode advantage r_t is added after scaling, so its weight must not reach the std.
    change = {"scale": "ema", "temporal": "advantage", "max_steps": 1, "save_steps": 1}
    kept = []
    for alpha in (0.0, 50.0):
        alone(change | {"alpha": alpha}, inputs, tmp_path / str(alpha), monkeypatch)
        (file,) = (tmp_path / str(alpha)).glob(".work/tgrpo/*/*/checkpoint-1/complete.json")
        kept.append(json.loads(file.read_text())["ema"])
    assert kept[0] == kept[1]
    assert kept[0]["multiple choice"] > 0


@pytest.mark.slow
def test_a_bound_below_every_ratio_leaves_only_the_kl_term(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In fp32 all ratios are 1: a bound of 2 changes nothing but rounding, and a mask of ratios above ½ leaves nothing.
    norms = {}
    for mode, clip_max in (("off", 3.0), ("token_truncate", 2.0), ("sequence_mask", 0.5)):
        loss = LossParams.model_validate({"importance_sampling_mode": mode, "importance_sampling_clip_max": clip_max})
        (row,) = alone({"loss": loss, "max_steps": 1}, inputs, tmp_path / mode, monkeypatch)
        norms[mode] = float(row["grad_norm"])
    assert norms["token_truncate"] == pytest.approx(norms["off"], rel=1e-4)
    assert norms["off"] > 1e-3
    assert norms["sequence_mask"] < 1e-6  # the policy starts as the reference


@pytest.mark.slow
@pytest.mark.parametrize("freeze_vision", [True, False])
def test_likelihood_needs_contrast_frames_and_no_responses_on_them(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, freeze_vision: bool
) -> None:
    change = {"temporal": "likelihood", "alpha": 2.0, "faithfulness_every": 1, "freeze_vision": freeze_vision}
    (with_them,) = alone(change | {"max_steps": 1}, inputs, tmp_path / "with", monkeypatch)
    (without,) = alone(change | {"max_steps": 1, "contrast_size": 0}, inputs, tmp_path / "without", monkeypatch)
    assert float(without["temporal"]) > 0
    assert (without["p_contrast"], without["answers_change"]) == ("", "")  # nobody answered on contrast frames
    for name in ("reward", "accuracy", "p", "condition_rate", "temporal", "likelihood_gain", "loss", "grad_norm"):
        assert float(without[name]) == pytest.approx(float(with_them[name]), rel=1e-4), name


FOUR = {
    "questions_per_step": 4,
    "questions_per_forward": 4,
    "max_steps": 1,
    "temporal": "off",
    "contrast_size": 0,
    "omega": 0.0,
}


@pytest.mark.slow
def test_groups_without_variance_are_skipped_and_counted(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a KL term they have no gradient, so leaving them out of the mean over rows only makes it larger.
    change = FOUR | {"loss": LossParams(beta=0.0), "group_size": 2}
    (whole,) = alone(change, inputs, tmp_path / "whole", monkeypatch)
    (skipping,) = alone(change | {"dynamic_sampling": "skip"}, inputs, tmp_path / "skip", monkeypatch)
    skipped = int(skipping["skipped"])
    assert 0 < skipped < 4
    assert (whole["skipped"], skipping["resampled"]) == ("0", "0")
    assert float(whole["zero_variance"]) == skipped / 4
    assert float(skipping["grad_norm"]) == pytest.approx(float(whole["grad_norm"]) * 4 / (4 - skipped), rel=1e-4)


@pytest.mark.slow
def test_groups_without_variance_are_replaced_by_other_questions_and_counted(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = FOUR | {"questions_per_step": 2, "questions_per_forward": 1, "max_steps": 6}
    kept = alone(change, inputs, tmp_path / "kept", monkeypatch)
    resampling = alone(change | {"dynamic_sampling": "resample"}, inputs, tmp_path / "resample", monkeypatch)
    again = alone(change | {"dynamic_sampling": "resample"}, inputs, tmp_path / "again", monkeypatch)
    assert resampling == again
    assert sum(int(row["resampled"]) for row in resampling) > 0
    assert sum(float(row["zero_variance"]) for row in resampling) < sum(float(row["zero_variance"]) for row in kept)
