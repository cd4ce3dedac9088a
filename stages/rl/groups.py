"""Where prompts and their completions lie in a packed row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stages.model.recurrent import Layer, States
from stages.model.transfer import on_device

BLOCKS = 4  # of completions of similar length: a single one would pad the short ones to the longest


@dataclass(frozen=True)
class Block:
    """Completions of similar length, padded, with the prompt of each row.

    index_RC is their place in the packed row. mask_R1CS (S = P + C: prompt, then completion) is true where a query may
    look.
    """

    index_RC: Tensor
    prompt_R: Tensor
    mask_R1CS: Tensor

    def to(self, device: torch.device) -> "Block":
        """The same block on another device."""
        return Block(*(on_device(tensor, device) for tensor in (self.index_RC, self.prompt_R, self.mask_R1CS)))


@dataclass(frozen=True)
class Groups:
    """Where prompts and completions lie in the packed row.

    Short ones are padded with index 0; `lengths` are those of the prompts. restore_L finds each token of the row in
    [all padded prompts, all blocks], so that nothing of the padding is read back.
    """

    prompt_BP: Tensor
    lengths: tuple[int, ...]
    blocks: tuple[Block, ...]
    restore_L: Tensor

    def to(self, device: torch.device) -> "Groups":
        """The same places on another device."""
        blocks = tuple(block.to(device) for block in self.blocks)
        return Groups(on_device(self.prompt_BP, device), self.lengths, blocks, on_device(self.restore_L, device))

    def through(self, layer: Layer, states_LH: Tensor) -> Tensor:
        """The packed row through a layer with recurrent states, [L, H].

        Each prompt is computed once, without padding. Its completions go on from its states, and gradients go back
        through them. A completion's padding follows its tokens.
        """
        mixed_PH, of_prompts = [], []
        for index_P, length in zip(self.prompt_BP, self.lengths, strict=True):
            of_prompts.append(States())
            prompt_1PH = states_LH.index_select(0, index_P[:length])[None]
            mixed_PH.append(layer(prompt_1PH, cache_params=of_prompts[-1])[0])
        states, mixed = States.joined(of_prompts), [pad_sequence(mixed_PH, batch_first=True).flatten(0, 1)]
        for block in self.blocks:
            C = block.index_RC.shape[1]
            # One token alone would take the step of generation, which changes states in place.
            index_RC = block.index_RC.expand(-1, 2) if C == 1 else block.index_RC
            rows_RCH = states_LH.index_select(0, index_RC.flatten()).unflatten(0, index_RC.shape)
            mixed.append(layer(rows_RCH, cache_params=states.of(block.prompt_R))[:, :C].flatten(0, 1))
        return torch.cat(mixed).index_select(0, self.restore_L)


def groups_of(prompt_spans: Sequence[Tensor], completion_spans: Sequence[Tensor], prompt_R: Tensor) -> Groups:
    """The groups of a packed row's prompts and completions.

    Spans are indices of the packed row; prompt_R is the prompt of each completion.
    """
    prompt_BP, has_prompt_BP = pad_sequence(list(prompt_spans), batch_first=True), filled(prompt_spans)
    by_length_R = torch.tensor([len(span_C) for span_C in completion_spans]).argsort(stable=True)
    blocks, indices, are_filled = [], [prompt_BP.flatten()], [has_prompt_BP.flatten()]
    for rows_R in by_length_R.split(math.ceil(len(completion_spans) / BLOCKS)):
        spans = [completion_spans[row] for row in rows_R.tolist()]
        index_RC = pad_sequence(spans, batch_first=True)
        R, C = index_RC.shape
        prompt_RCP = has_prompt_BP[prompt_R[rows_R], None].expand(-1, C, -1)
        own_RCC = torch.ones(C, C, dtype=torch.bool).tril().expand(R, -1, -1)
        blocks.append(Block(index_RC, prompt_R[rows_R], torch.cat([prompt_RCP, own_RCC], dim=2)[:, None]))
        indices.append(index_RC.flatten())
        are_filled.append(filled(spans).flatten())
    place = torch.cat(are_filled).nonzero()[:, 0]
    restore_L = torch.empty_like(place).scatter(0, torch.cat(indices)[place], place)
    lengths = tuple(len(span_P) for span_P in prompt_spans)
    return Groups(prompt_BP, lengths, tuple(blocks), restore_L)


def filled(spans: Sequence[Tensor]) -> Tensor:
    """True where the padded `spans` have an entry, false in the padding."""
    return pad_sequence([torch.ones(len(span), dtype=torch.bool) for span in spans], batch_first=True)
