"""From rewards to advantages: centred in the group, then scaled."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from stages.rl.rewards import EPSILON, Rewards

Scale = Literal["group", "batch", "none", "ema"]


def group_advantages(rewards_BG: Tensor, divisor: Tensor) -> Tensor:
    """A_i = (R_i − mean of its group) / divisor, [B, G].

    This is paper §2; the divisor is [B, 1] or a scalar.
    """
    return (rewards_BG - rewards_BG.mean(dim=1, keepdim=True)) / divisor


def reward_scale(rewards_BG: Tensor, scale: Scale, ema_B: Tensor) -> Tensor:
    """What centred rewards are divided by.

    `group` (the paper): the group's own unbiased std, [B, 1]. `batch`: that of the batch. `ema`: `ema_B`. Each of them
    + ε. `none` (Dr. GRPO): 1.
    """
    if scale == "group":
        return rewards_BG.std(dim=1, keepdim=True) + EPSILON
    if scale == "batch":
        return rewards_BG.std() + EPSILON
    if scale == "ema":
        return ema_B[:, None] + EPSILON
    return rewards_BG.new_ones(())


def update_ema(ema: Mapping[str, float], rewards_BG: Tensor, types: Sequence[str], decay: float) -> dict[str, float]:
    """The moving reward std of each answer type after one more batch.

    std ← √(decay · std² + (1 − decay) · mean group variance). A type's first batch starts its average. Types that are
    absent from the batch keep theirs.
    """
    variances_B = rewards_BG.var(dim=1)
    updated = dict(ema)
    for name in sorted(set(types)):
        variance = float(variances_B[torch.tensor([kind == name for kind in types])].mean())
        updated[name] = (decay * ema[name] ** 2 + (1 - decay) * variance) ** 0.5 if name in ema else variance**0.5
    return updated


def temporal_advantages(rewards: Rewards, scale: Scale, ema_B: Tensor) -> Tensor:
    """Advantages of the ordered responses, [B, G].

    r_t is part of the scaled reward, or added after scaling.
    """
    scaled_BG = rewards.scaled_BG
    advantages_BG = group_advantages(scaled_BG, reward_scale(scaled_BG, scale, ema_B))
    return advantages_BG + rewards.temporal_BG if rewards.after_scaling else advantages_BG


def temporal_effect(advantages_BG: Tensor, rewards: Rewards, scale: Scale, ema_B: Tensor) -> float:
    """Mean |advantage with r_t − without r_t| over the batch.

    It is zero (but for the ε in the std) for groups with two reward levels under `group` scaling: r_t raises all
    correct responses alike, so the distance of the levels and the std grow by the same factor.
    """
    without_BG = group_advantages(rewards.base_BG, reward_scale(rewards.base_BG, scale, ema_B))
    return float((advantages_BG - without_BG).abs().mean())
