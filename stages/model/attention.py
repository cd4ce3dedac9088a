"""Attention within segments of a row: windows of vision, and packed samples.

transformers computes the segments of a row one after the other. Here a layer makes one call for all of them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface, PreTrainedModel

from stages.model.recurrent import Layer, use_packed_states
from stages.model.transfer import on_device

VISION = "flash_segments"  # with "flash" in the name, transformers' vision layers hand over all windows at once
PACKED = "packed_segments"
CAUSAL, BOTH_WAYS = (-1, 0), (-1, -1)  # how far a token looks back and ahead, as `varlen_attn` wants it


@dataclass(frozen=True)
class Segments:
    """The segments of a row, in tokens.

    Segment s goes from bounds_S1[s] to bounds_S1[s + 1]; `longest` is the length of the longest.
    """

    bounds_S1: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: list[int]) -> "Segments":
        """Segments of these lengths, one after the other."""
        return cls(functional.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int(), max(lengths))

    def to(self, device: torch.device) -> "Segments":
        """The same segments on another device."""
        return Segments(on_device(self.bounds_S1, device), self.longest)

    def through(self, layer: Layer, states_LH: Tensor) -> Tensor:
        """The row through a layer with recurrent states, [L, H].

        Each segment goes through it by itself, with its padding behind it.
        """
        batch = _Batch.of(self, len(states_LH))
        return batch.tokens(layer(batch.rows(states_LH[:, None])[:, 0])[:, None])[:, 0]


def attend(query: Tensor, key: Tensor, value: Tensor, segments: Segments, causal: bool, scale: float) -> Tensor:
    """Attention of every token to its own segment.

    All tensors are [L, heads, D]. Query heads may be a multiple of key heads. On CUDA this is a kernel for segments
    of any length, in bf16 and fp16. Elsewhere the segments become rows of a batch, padded to the longest.
    """
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        bounds, longest, window = segments.bounds_S1.int(), segments.longest, CAUSAL if causal else BOTH_WAYS
        states = (query.contiguous(), key.contiguous(), value.contiguous())
        attended = varlen_attn(
            *states, bounds, bounds, longest, longest, scale=scale, window_size=window, enable_gqa=grouped
        )
        assert isinstance(attended, Tensor)  # a tuple only where more is asked for
        return attended
    batch = _Batch.of(segments, len(query))
    rows = [batch.rows(states) for states in (query, key, value)]
    mask = None if causal else batch.mask
    attended = functional.scaled_dot_product_attention(
        *rows, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )
    return batch.tokens(attended)


@dataclass(frozen=True)
class _Batch:
    """Segments as rows of a padded batch [S, W].

    index_SW, place_L and mask are None where every segment has length W.
    """

    segments: int
    width: int
    index_SW: Tensor | None
    place_L: Tensor | None
    mask: Tensor | None

    @classmethod
    def of(cls, segments: Segments, length: int) -> "_Batch":
        bounds_S1, width = segments.bounds_S1.long(), segments.longest
        count = len(bounds_S1) - 1
        if count * width == length:
            return cls(count, width, None, None, None)
        starts_S, column_W = bounds_S1[:-1], torch.arange(width, device=bounds_S1.device)
        index_SW = (starts_S[:, None] + column_W).clamp(max=length - 1)
        filled_SW = column_W < bounds_S1.diff()[:, None]
        token_L = torch.arange(length, device=bounds_S1.device)
        segment_L = torch.searchsorted(bounds_S1[1:], token_L, right=True)
        place_L = segment_L * width + token_L - starts_S[segment_L]
        return cls(count, width, index_SW, place_L, filled_SW[:, None, None])

    def rows(self, states_LHD: Tensor) -> Tensor:
        """Tokens as padded rows, [S, H, W, D].

        Padding is masked, or stands ahead of every token.
        """
        states = states_LHD if self.index_SW is None else states_LHD.index_select(0, self.index_SW.flatten())
        return states.unflatten(0, (self.segments, self.width)).transpose(1, 2)

    def tokens(self, states_SHWD: Tensor) -> Tensor:
        """Padded rows back to tokens, [L, H, D]."""
        states = states_SHWD.transpose(1, 2).flatten(0, 1)
        return states if self.place_L is None else states.index_select(0, self.place_L)


def vision_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within the windows or frames of a vision layer.

    query, key and value are [1, heads, L, D].
    """
    segments = Segments(cu_seq_lens_q, max_length_q)
    return attend(_tokens(query), _tokens(key), _tokens(value), segments, causal=False, scale=scaling)[None], None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    segments: Segments | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Causal attention within each packed sample.

    Without segments it is ordinary attention.
    """
    if segments is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return attend(_tokens(query), _tokens(key), _tokens(value), segments, causal=True, scale=scaling)[None], None


def _tokens(states_1HLD: Tensor) -> Tensor:
    return states_1HLD[0].transpose(0, 1)


AttentionInterface.register(VISION, vision_attention)
AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)


def use_vision_attention(model: PreTrainedModel) -> None:
    """Let the vision tower attend in one call per layer."""
    model.set_attn_implementation({"vision_config": VISION})


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let the language model take packed rows; all else stays SDPA."""
    use_packed_states(model)
    model.set_attn_implementation({"text_config": PACKED})
