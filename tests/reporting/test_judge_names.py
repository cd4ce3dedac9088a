"""Who scored which model stands where the scores do."""

from stages.evaluation.judgements import JudgeRecord
from stages.reporting.benchmark_results import judge_names


def record(name: str, decided: int = 3) -> JudgeRecord:
    """What a judge did that decided so many answers, all correct."""
    return {
        "name": name,
        "model": "m",
        "base_url": "u",
        "prompt": "p",
        "decided": {"correct": decided, "incorrect": 0, "unreadable": 0, "refused": 0, "failed": 0},
        "without_answer": 0,
        "checks": None,
        "replaced": None,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "cost": 0.0,
    }


def test_a_judge_of_some_models_is_named_with_these_models() -> None:
    assert judge_names({"sft": record("a"), "tgrpo": record("a")}, ["sft", "tgrpo"]) == "a"
    assert judge_names({"tgrpo": record("a")}, ["sft", "tgrpo"]) == "a (T-GRPO)"
    assert judge_names({"sft": record("b"), "tgrpo": record("a")}, ["sft", "tgrpo"]) == "a (T-GRPO) and b (SFT)"
    assert judge_names({"sft": record("a", decided=0)}, ["sft"]) == ""
    assert judge_names({}, ["sft"]) == ""
