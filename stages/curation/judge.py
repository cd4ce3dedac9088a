"""Applies the rules of one training set to its samples."""

from collections.abc import Callable
from typing import Literal

from stages.curation.benchmark_overlap import BenchmarkOverlap
from stages.curation.candidates import Candidate
from stages.curation.contamination import Contamination
from stages.curation.duplicates import Duplicates, NearDuplicates
from stages.curation.funnel import Funnel
from stages.curation.params import RuleParams, SampleRule, ThoughtRule
from stages.curation.sample_rules import Balance, difficulty, quality
from stages.curation.text import thought_of
from stages.curation.thought_rules import THOUGHT_RULES
from stages.data.annotations import AnnotationRow
from stages.data.sample import Reject, Sample

TrainingSet = Literal["sft", "rl"]
Rule = Literal["frames"] | ThoughtRule | SampleRule


class Judge:
    """Decides which samples one training set keeps.

    The rules about duplicates and caps remember earlier samples, so a judge sees all samples of its set, in order.
    """

    def __init__(
        self,
        params: RuleParams,
        training_set: TrainingSet,
        contamination: Contamination,
        overlap: BenchmarkOverlap | None,
    ) -> None:
        """`overlap` compares frames with those of the benchmarks.

        Without it `contamination` compares files and text alone.
        """
        self._params = params
        self._training_set: TrainingSet = training_set
        self._contamination = contamination
        self._overlap = overlap
        self._duplicates = Duplicates()
        self._near_duplicates = NearDuplicates(params.near_duplicate)
        self._balance = Balance(params.max_per_source, params.max_per_type)
        self._rules = _rules_of(params, training_set)
        self._sample_rules: dict[Rule, Callable[[Candidate], str | None]] = {
            "frames": _has_frames,
            "duplicates": lambda candidate: self._duplicates(candidate.sample),
            "near_duplicates": lambda candidate: self._near_duplicates(candidate.sample, candidate.clip),
            "quality": lambda candidate: quality(candidate.clip, params),
            "contamination": self._contaminated,
            "balance": lambda candidate: self._balance(candidate.sample),
            "difficulty": lambda candidate: difficulty(candidate.sample, candidate.answers, params),
        }
        self.funnel = Funnel(self._rules)
        self.asked_twice = False

    def __call__(self, candidate: Candidate) -> Sample | Reject:
        """The sample to keep, or a reject by the first rule.

        A sample of the SFT set gets its chain of thought.
        """
        verdict = self._verdict(candidate)
        self.asked_twice |= len(candidate.answers) > 1
        self.funnel.count(candidate.sample, verdict)
        return verdict

    def _verdict(self, candidate: Candidate) -> Sample | Reject:
        sample = candidate.sample
        answers = candidate.answers or [_no_answer(sample)]
        for rule in self._rules:
            if rule in THOUGHT_RULES:
                details = [THOUGHT_RULES[rule](sample, answer, self._params) for answer in answers]
                answers = [answer for answer, detail in zip(answers, details, strict=True) if detail is None]
                detail = None if answers else details[0]
            else:
                detail = self._sample_rules[rule](candidate)
            if detail is not None:
                stage = f"filter {self._training_set}"
                return Reject(sample_id=sample.sample_id, stage=stage, reason=rule, detail=detail)
        if self._training_set == "rl":
            return sample
        return sample.model_copy(update={"process": f"<think>{thought_of(answers[0]['text'])}</think>"})

    def _contaminated(self, candidate: Candidate) -> str | None:
        def benchmark_with_frames() -> str | None:
            return self._overlap(candidate.frame_key) if self._overlap and candidate.frame_key else None

        return self._contamination(candidate.sample, benchmark_with_frames)


def _has_frames(candidate: Candidate) -> str | None:
    return "refused by the frames stage" if candidate.frame_key is None else None


def _no_answer(sample: Sample) -> AnnotationRow:
    """The row of a sample that the teacher was not asked about."""
    return {
        "sample_id": sample.sample_id,
        "request_key": "",
        "status": "failed",
        "detail": "no answer",
        "text": "",
        "prompt_tokens": 0,
        "completion_tokens": 0,
    }


def _rules_of(params: RuleParams, training_set: TrainingSet) -> list[Rule]:
    """The rules of a set in order.

    Rules about thoughts hold for SFT only, `difficulty` for RL only.
    """
    if training_set == "rl":
        return ["frames", *(rule for rule in params.rules if rule not in THOUGHT_RULES)]
    return ["frames", *(rule for rule in params.rules if rule != "difficulty")]
