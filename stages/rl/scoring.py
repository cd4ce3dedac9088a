"""Log-probabilities of completions, with each prompt computed once.

Prompts and completions form one packed row [prompt, c1 … cG, next prompt, …]. Every completion attends to its prompt
and to itself, and its positions go on from the prompt's. There are two ways to compute the same: group-prefix attention
(fast, the trainer's), and `dense_mask`, an ordinary 4D mask that any attention takes (the tests compare with it).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

from stages.model.inputs import Prompt
from stages.model.recurrent import use_packed_states
from stages.model.transfer import on_device
from stages.model.vision import Media
from stages.rl.groups import Groups, filled, groups_of

GROUP_PREFIX = "group_prefix"
CHUNK = 256  # completion tokens whose distribution is held in fp32 at once


@dataclass(frozen=True)
class Packed:
    """One row of B prompts with G completions each.

    N counts the completion tokens of all. keep_N is the place of the state that predicts each completion token (the
    prompt's last one for a first token), targets_N the token's id. mask_RC is true where a completion has a token.
    row_L is the completion that a token belongs to, from 1 on, and 0 in prompts.
    """

    input_ids_1L: Tensor
    position_ids_31L: Tensor
    row_L: Tensor
    keep_N: Tensor
    targets_N: Tensor
    mask_RC: Tensor
    groups: Groups

    def to(self, device: torch.device) -> "Packed":
        """The same row on another device."""
        tensors = {name: on_device(value, device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors, groups=self.groups.to(device))


def pack(prompts: Sequence[Prompt], completions: Sequence[Sequence[Tensor]]) -> Packed:
    """Pack B prompts and the G completions of each.

    Completions are token ids, at least one token each; G is the same for all prompts.
    """
    ids, positions, prompt_spans, completion_spans, keep, row = [], [], [], [], [], []
    length = 0
    for prompt, group in zip(prompts, completions, strict=True):
        ids.append(prompt.ids_P)
        positions.append(prompt.position_ids_3P)
        prompt_spans.append(torch.arange(length, length + len(prompt.ids_P)))
        row.append(torch.zeros_like(prompt.ids_P))
        length += len(prompt.ids_P)
        for ids_C in group:
            span_C = torch.arange(length, length + len(ids_C))
            ids.append(ids_C)
            positions.append((prompt.next_position + torch.arange(len(ids_C))).expand(3, -1))
            completion_spans.append(span_C)
            keep.append(torch.cat([prompt_spans[-1][-1:], span_C[:-1]]))
            row.append(torch.full_like(ids_C, len(completion_spans)))
            length += len(ids_C)
    prompt_R = torch.arange(len(prompts)).repeat_interleave(len(completion_spans) // len(prompts))
    return Packed(
        input_ids_1L=torch.cat(ids)[None],
        position_ids_31L=torch.cat(positions, dim=1)[:, None],
        row_L=torch.cat(row),
        keep_N=torch.cat(keep),
        targets_N=torch.cat([ids_C for group in completions for ids_C in group]),
        mask_RC=filled(completion_spans),
        groups=groups_of(prompt_spans, completion_spans, prompt_R),
    )


def dense_mask(packed: Packed) -> Tensor:
    """The packed row's attention as a mask, bool [1, 1, L, L].

    A token sees its own prompt and its own completion, up to itself.
    """
    row_L = packed.row_L
    is_first_L = torch.zeros_like(row_L).index_fill(0, packed.groups.prompt_BP[:, 0], 1)
    question_L = is_first_L.cumsum(0)
    same_question_LL = question_L[:, None] == question_L
    prompt_or_own_LL = (row_L == 0) | (row_L[:, None] == row_L)
    return (same_question_LL & prompt_or_own_LL).tril()[None, None]


def group_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    groups: Groups | None = None,
    dense: bool = False,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention over a packed row: prompts causally, completions on [their prompt, themselves].

    query, key, value: [1, heads, L, D]. The cost is that of the tokens a query may see, not L². Plain SDPA where
    `groups` is None, or the mask is `dense`.
    """
    if groups is None or dense:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    query_LHD, key_LHD, value_LHD = (states[0].transpose(0, 1) for states in (query, key, value))
    prompts = [_rows(states, groups.prompt_BP) for states in (query_LHD, key_LHD, value_LHD)]
    # A prompt's padding follows its tokens, so that a causal mask hides it from them.
    attended = [_attend(*prompts, scaling=scaling, is_causal=True)]
    for block in groups.blocks:
        context = [
            torch.cat([prompt.index_select(0, block.prompt_R), _rows(states, block.index_RC)], dim=2)
            for prompt, states in zip(prompts[1:], (key_LHD, value_LHD), strict=True)
        ]
        attended.append(_attend(_rows(query_LHD, block.index_RC), *context, scaling=scaling, attn_mask=block.mask_R1CS))
    return torch.cat(attended).index_select(0, groups.restore_L)[None], None


def _rows(states_LHD: Tensor, index_RC: Tensor) -> Tensor:
    """Tokens of the packed row as padded rows, [R, H, C, D]."""
    return states_LHD.index_select(0, index_RC.flatten()).unflatten(0, index_RC.shape).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, **mask: Any) -> Tensor:
    """Masked attention of padded rows, as tokens [R · C, H, D]."""
    repeat = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeat, dim=1), value.repeat_interleave(repeat, dim=1)
    attended = functional.scaled_dot_product_attention(query, key, value, scale=scaling, **mask)
    return attended.transpose(1, 2).flatten(0, 1)


AttentionInterface.register(GROUP_PREFIX, group_prefix_attention)
AttentionMaskInterface.register(GROUP_PREFIX, sdpa_mask)  # generation masks its padding as under SDPA


def use_group_prefix_attention(model: PreTrainedModel) -> None:
    """Let the model score packed rows; everything else stays SDPA."""
    use_packed_states(model)
    model.set_attn_implementation({"text_config": GROUP_PREFIX})


@dataclass(frozen=True)
class Scores:
    """Log-probability of each completion token, [R, C] with 0 in the padding.

    `entropy` is the mean over the distributions that the tokens were drawn from, in nats. `router_loss` is the loss of
    a mixture's routers over the packed row, if it was asked for.
    """

    logps_RC: Tensor
    entropy: Tensor
    router_loss: Tensor | None = None


def score(
    model: nn.Module, packed: Packed, media: Media, temperature: float, dense: bool = False, router_loss: bool = False
) -> Scores:
    """Score every completion in one forward of `model`.

    Logits are made at completion tokens only. `media` goes to the model as it is. `temperature` is that of sampling. A
    top_p cut is not part of the policy, as in TRL and the released code. `dense` uses the 4D mask.
    """
    outputs = model(
        input_ids=packed.input_ids_1L,
        position_ids=packed.position_ids_31L,
        attention_mask=dense_mask(packed) if dense else None,
        groups=packed.groups,
        dense=dense,
        logits_to_keep=packed.keep_N,
        use_cache=False,
        **({"output_router_logits": True} if router_loss else {}),
        **media,
    )
    logps_N, entropy_N = TokenLogps.apply(outputs.logits[0], packed.targets_N, temperature)
    logps_RC = logps_N.new_zeros(packed.mask_RC.shape).masked_scatter(packed.mask_RC, logps_N)
    return Scores(logps_RC, entropy_N.mean(), outputs.aux_loss if router_loss else None)


class TokenLogps(torch.autograd.Function):
    """Log-probability of targets and entropy of distributions, [N] each, in fp32.

    The logits of all completion tokens are the largest tensor of a step. They are read in chunks, and in the backward
    pass their gradient takes their place: the logits must not be used elsewhere, and the graph only once.
    """

    @staticmethod
    def forward(  # type: ignore[override]  # autograd's own takes anything
        ctx: Any, logits_NV: Tensor, targets_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Both, in chunks of tokens."""
        ctx.save_for_backward(logits_NV, targets_N)
        ctx.temperature = temperature
        logps, entropies = [], []
        for logits, targets in zip(logits_NV.split(CHUNK), targets_N.split(CHUNK), strict=True):
            distribution = (logits.float() / temperature).log_softmax(dim=1)
            logps.append(distribution.gather(1, targets[:, None])[:, 0])
            entropies.append(-(distribution.exp() * distribution).sum(dim=1))
        entropy_N = torch.cat(entropies)
        ctx.mark_non_differentiable(entropy_N)
        return torch.cat(logps), entropy_N

    @staticmethod
    def backward(ctx: Any, gradient_N: Tensor, _: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]  # as above
        """The gradient of the logits, in their own memory."""
        logits_NV, targets_N = ctx.saved_tensors
        slopes_N1 = gradient_N[:, None] / ctx.temperature
        for logits, targets, slopes in zip(
            logits_NV.split(CHUNK), targets_N.split(CHUNK), slopes_N1.split(CHUNK), strict=True
        ):
            shares = (logits.float() / ctx.temperature).softmax(dim=1).mul_(-slopes)
            logits.copy_(shares.scatter_add_(1, targets[:, None], slopes))
        return logits_NV, None, None
