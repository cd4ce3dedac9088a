"""Trainings whose result must not depend on the number of processes."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.model.adapters import Lora
from stages.rl.loss import LossParams
from stages.sft import SftParams
from stages.tgrpo import TgrpoParams
from tests.rl.runs import SMALL
from tests.sft_inputs import quick

STEP = SMALL.model_copy(
    update={"questions_per_step": 4, "questions_per_forward": 1, "group_size": 3, "max_steps": 2, "omega": 0.0}
)
ADAPTERS = Lora(rank=2, alpha=4, vision="full")


@dataclass(frozen=True)
class Case:
    """A training, and the numbers of processes that it runs on besides one.

    One process trains without DeepSpeed.
    """

    params: SftParams | TgrpoParams
    processes: tuple[int, ...]


def _tgrpo(change: Mapping[str, object], processes: tuple[int, ...] = (2, 4)) -> Case:
    return Case(STEP.model_copy(update=change), processes)


def _sft(processes: tuple[int, ...] = (2, 4), **change: object) -> Case:
    # Ten samples, four per step: the last step of an epoch has two.
    return Case(quick(**{"samples_per_forward": 1, "max_steps": 4} | change), processes)


CASES: dict[str, Case] = {
    "sft": _sft(),
    "sft-two-per-forward": _sft((2,), samples_per_forward=2),
    "sft-vision-frozen": _sft(vision_lr_scale=0.0),
    "sft-packed": _sft((2, 4), tokens_per_forward=100),
    "grpo": _tgrpo({}),
    "dapo-tokens-gated": _tgrpo({"loss": LossParams(name="dapo"), "temporal": "tokens", "gate_visits": 2}),
    "dr_grpo-batch": _tgrpo({"loss": LossParams(name="dr_grpo"), "scale": "batch", "contrast_scale": "batch"}),
    "bnpo-two-per-forward": _tgrpo({"loss": LossParams(name="bnpo"), "questions_per_forward": 2}, (2,)),
    "bnpo-relation": _tgrpo({"loss": LossParams(name="bnpo"), "temporal": "relation"}),
    "cispo-ema": _tgrpo({"loss": LossParams(name="cispo"), "scale": "ema", "updates_per_rollout": 2, "max_steps": 4}),
    "faithfulness": _tgrpo({"temporal": "answer", "faithfulness_every": 1}),
    "skip": _tgrpo({"dynamic_sampling": "skip", "contrast_scale": "batch"}),
    "skip-two-per-forward": _tgrpo({"dynamic_sampling": "skip", "questions_per_forward": 2}, (2,)),
    "resample": _tgrpo({"dynamic_sampling": "resample", "contrast_scale": "batch"}),
    "sft-zero3": _sft((2,), deepspeed=3, samples_per_forward=2),
    "sft-zero3-vision-frozen": _sft((2,), deepspeed=3, vision_lr_scale=0.0),
    "zero2-likelihood": _tgrpo({"deepspeed": 2, "temporal": "likelihood"}, (2,)),
    "zero2-adapters": _tgrpo({"deepspeed": 2, "lora": ADAPTERS, "freeze_vision": False}, (2,)),
    "zero3": _tgrpo({"deepspeed": 3, "dynamic_sampling": "resample"}, (2,)),
    "zero3-vision-trained": _tgrpo({"deepspeed": 3, "freeze_vision": False, "questions_per_forward": 2}, (2,)),
}
