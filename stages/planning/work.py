"""The cost model: how much a model computes for a question."""

from dataclasses import dataclass

from stages.planning.size import ModelSize

BACKWARD = 2  # forwards that a backward pass costs: gradients of inputs and of weights


@dataclass(frozen=True)
class Work:
    """Forward work, in units that add and multiply.

    `tokens` and `pairs` (of tokens, in attention) are the language model's, `patches` and `frame_pairs` (patch pairs
    within a frame, in full attention) the vision tower's. `logits` counts the tokens that logits are made for.
    """

    tokens: float = 0
    pairs: float = 0
    logits: float = 0
    patches: float = 0
    frame_pairs: float = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + yours for mine, yours in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __mul__(self, times: float) -> "Work":
        return Work(*(times * mine for mine in vars(self).values()))

    def flops(self, size: ModelSize) -> float:
        """Floating point operations.

        A weight costs two per token, an attended pair four per head element.
        """
        vision_blocks = size.vision - size.merger
        windowed = size.vision_layers - size.vision_full_layers
        return (
            2 * (size.blocks - size.unrouted) * self.tokens
            + 4 * size.attention_layers * size.heads * size.head_dim * self.pairs
            + size.scan_flops * self.tokens
            + 2 * size.hidden * size.vocabulary * self.logits
            + 2 * (vision_blocks + size.merger / size.merge**2) * self.patches
            + 4
            * size.vision_hidden
            * (size.vision_full_layers * self.frame_pairs + windowed * size.window * self.patches)
        )


@dataclass(frozen=True)
class Shape:
    """One question in tokens.

    Of the `prompt` tokens, `visual` are merged patches in `grids` temporal steps. `completion` is the most that is
    answered.
    """

    prompt: float
    visual: float
    grids: float
    completion: float


def encode(shape: Shape, size: ModelSize) -> Work:
    """Work of one pass of a question's media through the vision tower."""
    patches = shape.visual * size.merge**2
    return Work(patches=patches, frame_pairs=patches * patches / max(shape.grids, 1))


def prefill(shape: Shape) -> Work:
    """Work of one prompt, with the logits of its last token."""
    return Work(tokens=shape.prompt, pairs=shape.prompt**2 / 2, logits=1)


def decode(shape: Shape, rows: float) -> Work:
    """Work of all rows of a prompt, token by token."""
    tokens = rows * shape.completion
    return Work(tokens=tokens, pairs=tokens * (shape.prompt + shape.completion / 2), logits=tokens)


def score_group(shape: Shape, group: int) -> Work:
    """Work of a packed row [prompt, c1 … cG]; logits of completions."""
    tokens = group * shape.completion
    pairs = shape.prompt**2 / 2 + tokens * (shape.prompt + shape.completion)
    return Work(tokens=shape.prompt + tokens, pairs=pairs, logits=tokens)


def trained(forward: Work, checkpointing: bool, adapters: bool = False) -> Work:
    """Work of forward and backward.

    Gradient checkpointing adds a forward. With adapters the gradients of the weights are left out.
    """
    return forward * (1 + BACKWARD - adapters + checkpointing)
