"""Both ways through one step: their agreement and their costs."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from speed.tgrpo_step import released
from speed.tgrpo_step.cases import Case
from speed.tgrpo_step.cost import PHASES, Cost, Phase
from speed.tgrpo_step.here import Model, prepare

log = logging.getLogger(__name__)

Way = Literal["here", "there"]
Ratios = dict[str, float]  # of each phase and of the whole step


class Agreement(TypedDict):
    """How far the two ways are apart."""

    logp_difference: float
    loss_difference: float
    gradient_cosine: float
    gradient_norm_ratio: float


class Spent(TypedDict):
    """CPU seconds and peak megabytes of each phase."""

    seconds: dict[Phase, float]
    megabytes: dict[Phase, float]


class Result(Agreement):
    """Figures of one case; ratios are released over here."""

    case: dict[str, int]
    mean_completion: float
    here: Spent
    there: Spent
    times_faster: Ratios
    times_less_memory: Ratios


@dataclass(frozen=True)
class Comparison:
    """Costs of the two ways, and how far they are apart.

    `mean_completion` is the mean number of tokens of a response.
    """

    here: Cost
    there: Cost
    mean_completion: float
    agreement: Agreement


def compare(folder: Path, case: Case) -> Comparison:
    """Both ways through one step; AssertionError unless log-probabilities, loss and gradient agree."""
    step = prepare(folder, case)
    builder, model, reference = step.builder, step.model, step.reference
    group, reference_here_RC, loss_here = step.run(case)
    gradient_here, there = _flat_gradient(model), Cost()
    for each in (model, reference):
        each.set_attn_implementation("sdpa")
    model.zero_grad(set_to_none=True)
    with there.measure("rollout"), torch.no_grad():
        released.roll_out(model, builder, group, case.completion)
    with there.measure("reference"), torch.no_grad():
        reference_there_RC, mask_RC = released.logps(reference, builder, group)
    model.train()
    with there.measure("policy"):
        loss = released.policy_loss(model, builder, group, reference_there_RC, step.advantages_R)
        loss.backward()
    agreement = _agreement(
        (reference_here_RC * mask_RC, reference_there_RC * mask_RC),
        (loss_here.item(), loss.item()),
        (gradient_here, _flat_gradient(model)),
    )
    mean_completion = sum(len(response.ids_C) for response in group.ordered) / len(group.ordered)
    return Comparison(step.cost, there, mean_completion, agreement)


def _flat_gradient(model: Model) -> Tensor:
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])


def _agreement(
    logps: tuple[Tensor, Tensor], losses: tuple[float, float], gradients: tuple[Tensor, Tensor]
) -> Agreement:
    """How far the two ways are apart.

    AssertionError where the distance is more than rounding.
    """
    here, there = (gradient.double() for gradient in gradients)
    found: Agreement = {
        "logp_difference": float((logps[0] - logps[1]).abs().max()),
        "loss_difference": abs(losses[0] - losses[1]),
        "gradient_cosine": float(cosine_similarity(here, there, dim=0)),
        "gradient_norm_ratio": float(gradients[0].norm() / gradients[1].norm()),
    }
    assert found["logp_difference"] < 1e-4, found
    assert found["loss_difference"] < 1e-4, found
    assert found["gradient_cosine"] > 0.99999, found
    assert abs(found["gradient_norm_ratio"] - 1) < 1e-3, found
    return found


def result(case: Case, timed: Comparison, megabytes: Mapping[Way, dict[Phase, float]]) -> Result:
    """The figures of one case: seconds of one run, megabytes of another."""
    here, there = megabytes["here"], megabytes["there"]
    faster: Ratios = {phase: timed.there.seconds[phase] / timed.here.seconds[phase] for phase in PHASES}
    smaller: Ratios = {phase: there[phase] / here[phase] for phase in PHASES}
    return {
        "case": asdict(case),
        "mean_completion": timed.mean_completion,
        "here": {"seconds": timed.here.seconds, "megabytes": here},
        "there": {"seconds": timed.there.seconds, "megabytes": there},
        "times_faster": faster | {"step": timed.there.step / timed.here.step},
        "times_less_memory": smaller | {"step": max(there.values()) / max(here.values())},
        **timed.agreement,
    }


def report(name: str, figures: Result) -> None:
    """Print the figures of one case."""
    log.info("%s: P %d, completions of %.0f tokens", name, figures["case"]["prompt"], figures["mean_completion"])
    log.info("%12s%24s%24s", "", "CPU s, there → here", "peak MB, there → here")
    for phase in PHASES:
        _line(phase, figures, *(_pair(figures, unit, phase) for unit in ("seconds", "megabytes")))
    seconds = tuple(sum(figures[way]["seconds"].values()) for way in ("there", "here"))
    megabytes = tuple(max(figures[way]["megabytes"].values()) for way in ("there", "here"))
    _line("step", figures, seconds, megabytes)


def _pair(figures: Result, unit: Literal["seconds", "megabytes"], phase: Phase) -> tuple[float, ...]:
    return tuple(figures[way][unit][phase] for way in ("there", "here"))


def _line(name: str, figures: Result, seconds: tuple[float, ...], megabytes: tuple[float, ...]) -> None:
    ratios = figures["times_faster"][name], figures["times_less_memory"][name]
    text = "%12s%9.2f → %6.2f %5.1f×%9.0f → %6.0f %5.1f×"
    log.info(text, name, *seconds, ratios[0], *megabytes, ratios[1])
