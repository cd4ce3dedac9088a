"""Samples packed into rows without padding, each of which attends to itself."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.model.attention import Segments
from stages.model.inputs import IGNORE, Prompt


def packed_row(prompts: Sequence[Prompt], completions: Sequence[Tensor]) -> dict[str, Any]:
    """Model inputs for prompts and completions in one row, but the media.

    A prompt is followed by its completion ids_C; the row has L tokens. input_ids [1, L], position_ids [3, 1, L], the
    samples as `segments`. Logits are made at the N places that predict a completion token
    (`logits_to_keep`), and once more at the end, because losses shift labels [1, N + 1].
    """
    lengths = [len(prompt.ids_P) + len(ids_C) for prompt, ids_C in zip(prompts, completions, strict=True)]
    ids, positions, places, start = [], [], [], 0
    for prompt, ids_C, length in zip(prompts, completions, lengths, strict=True):
        ids += [prompt.ids_P, ids_C]
        positions += [prompt.position_ids_3P, (prompt.next_position + torch.arange(len(ids_C))).expand(3, -1)]
        first = start + len(prompt.ids_P)
        places.append(torch.arange(first - 1, first - 1 + len(ids_C)))
        start += length
    labels = torch.cat([torch.tensor([IGNORE]), *completions])
    return {
        "input_ids": torch.cat(ids)[None],
        "position_ids": torch.cat(positions, dim=1)[:, None],
        "segments": Segments.of(lengths),
        "logits_to_keep": torch.cat([*places, torch.tensor([start - 1])]),
        "labels": labels[None],
    }


def even_rows(lengths: Sequence[float], rows: int, most: int | None = None) -> list[list[int]]:
    """Samples shared out over rows of like length.

    The longest sample goes first, each to the shortest row so far that holds less than `most` samples. Rows come out in
    falling order of their length, so that neighbours are alike. Longest-processing-time-first scheduling (Graham 1969).
    """
    shared: list[list[int]] = [[] for _ in range(rows)]
    tokens = [0.0] * rows
    for sample in sorted(range(len(lengths)), key=lambda sample: (-lengths[sample], sample)):
        free = [row for row in range(rows) if most is None or len(shared[row]) < most]
        row = min(free, key=lambda row: (tokens[row], row))
        shared[row].append(sample)
        tokens[row] += lengths[sample]
    return [shared[row] for row in sorted(range(rows), key=lambda row: (-tokens[row], row))]


def shuffled_steps(total: int, steps: int, per_step: int, seed: int) -> list[list[int]]:
    """The samples of each step, from shuffled epochs of `total` samples."""
    generator = torch.Generator().manual_seed(seed)
    epochs = math.ceil(steps * per_step / total)
    order = torch.cat([torch.randperm(total, generator=generator) for _ in range(epochs)])
    return [step.tolist() for step in order[: steps * per_step].split(per_step)]


def rows_needed(lengths: Sequence[int], budget: int, processes: int) -> int:
    """The least rows within the budget, a multiple of `processes`.

    A sample that is longer than the budget gets a row of its own.
    """
    most = math.ceil(len(lengths) / processes) * processes
    for rows in range(processes, most, processes):
        shared = even_rows(lengths, rows)
        if all(len(row) < 2 or sum(lengths[sample] for sample in row) <= budget for row in shared):
            return rows
    return most


def packed_rows(
    steps: Sequence[Sequence[int]], lengths: Sequence[int], budget: int, processes: int
) -> tuple[list[list[int]], int]:
    """The rows of all steps, and how many make a step.

    Every step has the same number of rows: the most that one of them needs.
    """
    of_steps = [[lengths[sample] for sample in step] for step in steps]
    count = max(rows_needed(tokens, budget, processes) for tokens in of_steps)
    rows = [
        [step[place] for place in row]
        for step, tokens in zip(steps, of_steps, strict=True)
        for row in even_rows(tokens, count)
    ]
    return rows, count
