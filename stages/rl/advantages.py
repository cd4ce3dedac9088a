"""From rewards to advantages: centred in the group, then divided by one of four scales."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from stages.rl.rewards import Rewards, TemporalMode

Scale = Literal["group", "batch", "none", "ema"]

EPSILON = 1e-4  # added to every std, as in the released code: a group without variance gets advantage 0, not 0 / 0


def group_advantages(rewards_BG: Tensor, divisor: Tensor) -> Tensor:
    """A_i = (R_i − mean of its group) / divisor, [B, G] (paper §2); the divisor is [B, 1] or a scalar."""
    return (rewards_BG - rewards_BG.mean(dim=1, keepdim=True)) / divisor


def reward_scale(rewards_BG: Tensor, scale: Scale, ema_B: Tensor) -> Tensor:
    """The divisor: the group's own (unbiased) std (`group`, the paper), the batch's, 1 (`none`, Dr. GRPO), or `ema_B`; std + ε each."""
    if scale == "group":
        return rewards_BG.std(dim=1, keepdim=True) + EPSILON
    if scale == "batch":
        return rewards_BG.std() + EPSILON
    if scale == "ema":
        return ema_B[:, None] + EPSILON
    return rewards_BG.new_ones(())


def update_ema(ema: Mapping[str, float], rewards_BG: Tensor, types: Sequence[str], decay: float) -> dict[str, float]:
    """The moving reward std per answer type after one more batch: std ← √(decay · std² + (1 − decay) · mean group variance).

    A type's first batch starts its average. Types that are absent from the batch keep theirs.
    """
    variances_B = rewards_BG.var(dim=1)
    updated = dict(ema)
    for name in sorted(set(types)):
        variance = float(variances_B[torch.tensor([kind == name for kind in types])].mean())
        updated[name] = (decay * ema[name] ** 2 + (1 - decay) * variance) ** 0.5 if name in ema else variance**0.5
    return updated


def scaled_rewards(rewards: Rewards, mode: TemporalMode) -> Tensor:
    """The rewards that are centred and scaled, [B, G]: all parts; in mode `advantage` all but r_t, which is added afterwards."""
    return rewards.base_BG if mode == "advantage" else rewards.base_BG + rewards.temporal_BG


def temporal_advantages(rewards: Rewards, mode: TemporalMode, scale: Scale, ema_B: Tensor) -> Tensor:
    """Advantages of the ordered responses, [B, G]. r_t is part of the reward; in mode `advantage` it is added after scaling."""
    scaled_BG = scaled_rewards(rewards, mode)
    advantages_BG = group_advantages(scaled_BG, reward_scale(scaled_BG, scale, ema_B))
    return advantages_BG + rewards.temporal_BG if mode == "advantage" else advantages_BG


def temporal_effect(advantages_BG: Tensor, rewards: Rewards, scale: Scale, ema_B: Tensor) -> float:
    """Mean |advantage with r_t − without r_t| over the batch.

    Zero (up to the ε in the std) for groups with two reward levels under `group` scaling: a bonus that every correct response gets
    stretches the two levels and the std alike, so it cancels.
    """
    without_BG = group_advantages(rewards.base_BG, reward_scale(rewards.base_BG, scale, ema_B))
    return float((advantages_BG - without_BG).abs().mean())
