"""From graded groups to what the loss needs: rewards, advantages, token weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from stages.rl.advantages import temporal_advantages, temporal_effect, update_ema
from stages.rl.batches import response_weights, weight_effect
from stages.rl.exchange import gather
from stages.rl.gate import Gate
from stages.rl.metrics import Figure, rollout_metrics
from stages.rl.params import StepParams
from stages.rl.rewards import Rewards, group_rewards
from stages.rl.sampler import Sampled
from stages.rl.sharing import SharedStep


@dataclass(frozen=True)
class Assessment:
    """What this process's groups earned, and figures of all processes.

    `weights` are those of the tokens of each response, None unless the temporal mode weighs tokens.
    """

    rewards: Rewards
    advantages_BG: Tensor
    weights: list[list[Tensor]] | None
    figures: dict[Figure, float]


class Assessor:
    """Assesses one batch after the other.

    Statistics over a batch are those of all processes. The assessor keeps the moving averages of the reward std and
    what the gate has seen.
    """

    def __init__(self, params: StepParams) -> None:
        self.params = params
        self.ema: dict[str, float] = {}
        self.gate = Gate(params.gate_visits, params.correct_above)

    def assess(self, accelerator: Accelerator, sampled: Sampled, shared: SharedStep) -> Assessment:
        """Rewards, advantages and token weights of this process's groups."""
        params, grades = self.params, sampled.grades
        types = [sample.problem_type for sample in sampled.samples]
        closed_B = self.gate.closed([sample.sample_id for sample in sampled.samples], grades)
        rewards = group_rewards(grades, params, closed_B)
        self.ema = update_ema(self.ema, rewards.scaled_BG, types, params.ema_decay)
        ema_B = torch.tensor([self.ema[kind] for kind in types])
        advantages_BG = temporal_advantages(rewards, params.scale, ema_B)
        effect = temporal_effect(advantages_BG, rewards, params.scale, ema_B)
        own = shared.places(accelerator.process_index)
        own_rewards = rewards.of(own)
        weights = response_weights(sampled.groups, own_rewards.condition_B, params)
        if weights is not None:
            effect = float(gather(accelerator, weight_effect(advantages_BG[own], weights)[None]).mean())
        figures: dict[Figure, float] = {**rollout_metrics(grades, rewards, params), "temporal_effect": effect}
        return Assessment(own_rewards, advantages_BG[own], weights, figures)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"ema": self.ema, "gate": self.gate.history}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; checkpoints of older versions know no gate."""
        self.ema, self.gate.history = state["ema"], state.get("gate", {})
