"""Counts of what became of the samples."""

from stages.data.sample import Reject, Sample
from stages.reporting.funnel import RuleCounts, funnel, rule_counts

LEFT = Sample(
    sample_id="s1",
    source="shapes",
    data_type="video",
    problem_type="numerical",
    problem="How many?",
    answer="3",
    media_path="a.mp4",
    media_sha256="aa",
)


def test_what_the_probe_dropped_was_kept_by_the_filter() -> None:
    samples = [LEFT.model_copy(update={"sample_id": f"s{number}", "split": "rl"}) for number in range(4)]
    by_filter = [Reject(sample_id="s0", stage="filter rl", reason="difficulty")]
    by_probe = [Reject(sample_id="s1", stage="probe", reason="learnable")]
    steps = funnel(samples, [], 4, [], sft=0, rl=2, dropped=by_filter + by_probe)["RL"]
    assert [(step.name, step.count, step.of) for step in steps] == [
        ("meant for RL", 4, 4),
        ("kept by the filter", 3, 4),
        ("kept by the probe", 2, 4),
    ]
    assert len(funnel(samples, [], 4, [], sft=0, rl=3, dropped=by_filter)["RL"]) == 2


def test_each_rule_is_counted_in_all_by_source_and_by_answer_type() -> None:
    words = LEFT.model_copy(update={"sample_id": "s2", "source": "mine", "problem_type": "OCR"})
    dropped = [
        Reject(sample_id="s2", stage="filter sft", reason="length"),
        Reject(sample_id="s1", stage="filter sft", reason="correctness"),
        Reject(sample_id="s2", stage="filter sft", reason="correctness"),
        Reject(sample_id="s1", stage="filter rl", reason="difficulty"),
    ]
    assert rule_counts("SFT", [LEFT], dropped, {"s1": LEFT, "s2": words}) == RuleCounts(
        groups=["all", "mine", "shapes", "OCR", "numerical"],
        rows=[["correctness", 2, 1, 1, 1, 1], ["length", 1, 1, 0, 1, 0], ["kept", 1, 0, 1, 0, 1]],
    )
