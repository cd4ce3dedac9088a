"""How the next token is drawn from the logits."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Temperature 0 is greedy. top_p keeps the smallest set of likeliest tokens whose probabilities add up to it.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


def choose(logits_RV: Tensor, uniform_R: Tensor, sampling: Sampling, banned_ids: Tensor) -> Tensor:
    """The next token of each row, drawn by uniform numbers.

    It is the token whose share of the cumulated distribution holds the row's number in [0, 1). Tokens cumulate in the
    order of their ids, so that nothing is sorted.
    """
    logits_RV = logits_RV.index_fill(1, banned_ids, -torch.inf)
    if sampling.temperature == 0:
        return logits_RV.argmax(dim=1)
    probs_RV = (logits_RV / sampling.temperature).softmax(dim=1)
    cumulated_RV = (nucleus(probs_RV, sampling.top_p) if sampling.top_p < 1 else probs_RV).cumsum(dim=1)
    total_R1 = cumulated_RV[:, -1:]
    # Rounding must not lead past the last token that is kept.
    below_total_R1 = torch.nextafter(total_R1, torch.zeros_like(total_R1))
    place_R1 = torch.searchsorted(
        cumulated_RV, torch.minimum(uniform_R[:, None] * total_R1, below_total_R1), right=True
    )
    return place_R1[:, 0].clamp(max=logits_RV.shape[1] - 1)  # beyond it only for NaN, which training reports


def log_probabilities(logits_RV: Tensor, ids_R: Tensor, temperature: float) -> Tensor:
    """Log-probability of each row's token, [R].

    A temperature of 0 counts as 1.
    """
    return (logits_RV / (temperature or 1.0)).log_softmax(dim=-1).gather(1, ids_R[:, None])[:, 0]


def nucleus(probs_RV: Tensor, top_p: float) -> Tensor:
    """The probabilities of the likeliest tokens that together reach `top_p`, 0 elsewhere.

    Tokens as likely as the last of them stay too. The least probability that stays is found by histograms on the CPU
    and by a sort on a GPU, where adding up histograms is slow.
    """
    find = least_by_sort if probs_RV.is_cuda else least_by_histogram
    return probs_RV * (probs_RV >= find(probs_RV, top_p))


def least_by_sort(probs_RV: Tensor, top_p: float) -> Tensor:
    """The least probability of the nucleus of each row, [R, 1]."""
    descending_RV = probs_RV.sort(dim=1, descending=True).values
    before_R1 = (descending_RV.cumsum(dim=1) < top_p).sum(dim=1, keepdim=True)
    return descending_RV.gather(1, before_R1.clamp(max=probs_RV.shape[1] - 1))


def least_by_histogram(probs_RV: Tensor, top_p: float) -> Tensor:
    """The same without a sort, [R, 1].

    Non-negative float32 numbers are ordered as their bits are. So the number is found 10 bits at a time, from
    histograms of probability: three passes over the vocabulary.
    """
    bits_RV, rows = probs_RV.view(torch.int32), len(probs_RV)
    first_R1 = torch.arange(rows, device=probs_RV.device)[:, None] * 1024
    least_R1, above_R1 = torch.zeros_like(bits_RV[:, :1]), torch.zeros_like(probs_RV[:, :1])
    for shift in (20, 10, 0):
        place_RV = first_R1 + (bits_RV >> shift & 1023)
        inside_RV = probs_RV * (bits_RV >> shift + 10 == least_R1)
        masses_RK = (
            probs_RV.new_zeros(rows * 1024).scatter_add_(0, place_RV.flatten(), inside_RV.flatten()).view(rows, 1024)
        )
        reached_RK = above_R1 + masses_RK.flip(1).cumsum(dim=1).flip(1)  # by this bucket and all higher ones
        bucket_R1 = (reached_RK >= top_p).sum(dim=1, keepdim=True).clamp(min=1) - 1
        above_R1 = reached_RK.gather(1, bucket_R1) - masses_RK.gather(1, bucket_R1)
        least_R1 = least_R1 << 10 | bucket_R1.int()
    return least_R1.view(torch.float32)
