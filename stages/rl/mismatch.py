"""How far sampling and scoring are apart, and a correction.

Both have the same weights, but other kernels and precisions: sampling decodes token by token, or on a server
(stages/rl/served.py), and scoring takes whole rows.
Names are TRL's (GRPOTrainer, `vllm_importance_sampling_*`) and verl's (`rollout_is`).
"""

from typing import Literal

from torch import Tensor

CorrectionMode = Literal["off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


def logp_difference(scored_logps_RC: Tensor, sampled_logps_RC: Tensor, mask_RC: Tensor) -> Tensor:
    """Mean |Δ log p| per token: TRL's sampling_logp_difference."""
    return ((scored_logps_RC - sampled_logps_RC).abs() * mask_RC).sum() / mask_RC.sum()


def sampling_kl(scored_logps_RC: Tensor, sampled_logps_RC: Tensor, mask_RC: Tensor) -> Tensor:
    """KL(π_sampled ‖ π_scored) per token, estimated by k3: verl's k3_kl.

    The estimate is the mean of e^x − x − 1, where x = log π_scored − log π_sampled.
    """
    x_RC = (scored_logps_RC - sampled_logps_RC) * mask_RC
    return (x_RC.exp() - x_RC - 1).sum() / mask_RC.sum()


def importance_weights(
    scored_logps_RC: Tensor, sampled_logps_RC: Tensor, mask_RC: Tensor, mode: CorrectionMode, clip_max: float
) -> Tensor:
    """Weights of the policy loss: π_scored / π_sampled.

    They are [R, C], or [R, 1] for whole sequences. The ratio of a sequence is the product over its tokens. A ratio
    above `clip_max` becomes `clip_max` or 0 (`…_mask`). The first, `…_truncate`, is truncated importance sampling,
    w = min(π_scored / π_sampled, clip_max): Ionides 2008, J. Comput. Graph. Stat. 17(2).
    """
    log_ratios = (scored_logps_RC - sampled_logps_RC) * mask_RC
    if mode.startswith("sequence"):
        log_ratios = log_ratios.sum(dim=1, keepdim=True)
    ratios = log_ratios.exp()
    if mode.endswith("truncate"):
        return ratios.clamp(max=clip_max)
    return ratios.masked_fill(ratios > clip_max, 0.0)
