"""Bytes on one GPU, of the whole run and of a phase."""

import math
from dataclasses import dataclass

from stages.generation.prefill import MOST_TOKENS
from stages.model.adapters import VisionTraining
from stages.model.load import Precision
from stages.model.processes import ZeroStage
from stages.planning.size import CHUNK, ModelSize

ADAM = 8  # bytes per trained parameter: two fp32 moments
BUCKETS = 2 * 500_000_000  # elements of DeepSpeed's two reduce buckets of default size
SAVED_HIDDEN = 7  # tensors of the hidden width that a layer saves for its backward pass
SAVED_HIDDEN_FP32 = 3  # of these, the ones that norms keep in fp32
SAVED_INTERMEDIATE = 4  # tensors of the intermediate width that a layer saves
SAVED_OUTSIDE = 3  # hidden tensors outside the layers: the last norm and the states that predict completions
CHUNK_BYTES = 256 * 4 * 3  # per vocabulary entry: fp32 distributions of a chunk of scoring (stages/rl/scoring.py)
LOSS_BYTES = 8  # per logit of SFT beside the logit and its gradient: both also in fp32
DRAW_BYTES = 24  # per row and vocabulary entry: logits, distribution and its cumulated sum while a token is drawn


@dataclass(frozen=True)
class Training:
    """The parameters of training that decide memory."""

    precision: Precision
    zero: ZeroStage | None
    lora_rank: int | None
    vision: VisionTraining
    checkpointing: bool
    processes: int
    lora_experts: bool = False

    @property
    def element(self) -> int:
        """Bytes of an activation."""
        return 2 if self.precision == "bf16" else 4

    @property
    def weight(self) -> int:
        """Bytes of a weight.

        Full training without DeepSpeed keeps fp32 weights and computes in bf16 by autocast.
        """
        return 4 if self.lora_rank is None and self.zero is None else self.element

    def trainable(self, size: ModelSize) -> int:
        """How many parameters are trained."""
        if self.lora_rank is not None:
            vision = {"frozen": 0, "adapters": self.lora_rank * size.vision_adapter, "full": size.vision}
            experts = self.lora_rank * size.expert_adapter if self.lora_experts else 0
            return self.lora_rank * size.adapter + experts + vision[self.vision]
        return size.total - (size.vision if self.vision == "frozen" else 0)


def states(size: ModelSize, how: Training, reference: bool) -> dict[str, float]:
    """Bytes of weights, reference, gradients and optimizer.

    `reference`: whether a second, frozen model is held.
    """
    weights = size.total * how.weight / (how.processes if how.zero == 3 else 1)
    if how.lora_rank is not None:
        weights += how.trainable(size) * 4
    elif how.zero is None and how.precision == "bf16":
        weights += how.trainable(size) * 2  # autocast keeps the bf16 copies of a forward
    copies = reference + (how.zero == 3)  # under ZeRO-3 a whole copy of the policy samples
    if how.zero is None or how.lora_rank is not None:
        gradients, optimizer = 4.0, float(ADAM)
    else:
        gradients, optimizer = how.weight / how.processes, (4 + ADAM) / how.processes  # with its fp32 master weights
    buckets = 0 if how.zero is None else min(BUCKETS, 2 * how.trainable(size)) * how.weight
    return {
        "weights": weights,
        "reference and sampler": copies * size.total * how.weight,
        "gradients": how.trainable(size) * gradients + buckets,
        "optimizer": how.trainable(size) * optimizer,
    }


def packed_attention(size: ModelSize, tokens: float) -> float:
    """Elements that attention saves in one layer for packed or padded samples.

    These are queries and results of all heads, keys and values of the key heads.
    """
    return tokens * 2 * (size.heads + size.kv_heads) * size.head_dim


def grouped_attention(size: ModelSize, prompt: float, rows: float, completion: float) -> float:
    """Elements that attention saves in one layer for a packed group (stages/rl/scoring.py).

    These are queries, keys, values and results of prompt and rows, keys and values of the prompt once per row, and
    the rows' masks. Keys are repeated for all heads.
    """
    attended = 4 * prompt + 2 * rows * completion + 2 * rows * (prompt + completion)
    masks = rows * completion * (prompt + completion)
    return attended * size.heads * size.head_dim + masks


def layer_bytes(size: ModelSize, how: Training, tokens: float, attention: float) -> float:
    """Bytes that one language layer saves for its backward pass.

    These are tensors of hidden and intermediate width for every token, and the `attention` elements. A norm of heads,
    and one of what attention or MLP gives, keeps its input in fp32 and its output. A token's experts each keep their
    input and output. Adapters on experts keep the adapted copy of all experts.
    """
    normed = size.normed_heads * size.head_dim + size.normed_results * size.hidden
    norms = SAVED_HIDDEN_FP32 * (4 - how.element) * size.hidden + (4 + how.element) * normed
    hidden = size.hidden * (SAVED_HIDDEN + 2 * size.routed) * how.element + norms
    experts = size.expert_weights / size.layers * how.element if how.lora_experts else 0.0
    per_token = hidden + size.intermediate * SAVED_INTERMEDIATE * how.element
    return tokens * per_token + attention * how.element + experts


def scanned(prompt: float, rows: float, completion: float) -> float:
    """Tokens that linear attention computes for a packed group.

    The prompt and each row are filled up to whole chunks.
    """
    return CHUNK * (math.ceil(prompt / CHUNK) + rows * math.ceil(completion / CHUNK))


def recurrent_bytes(size: ModelSize, how: Training, tokens: float, scanned: float) -> float:
    """Bytes that a layer of linear attention saves for its backward pass.

    transformers' own path saves in fp32, and several matrices of a chunk's tokens for each head. The kernels of
    flash-linear-attention need less.
    """
    found = size.recurrence
    if found is None:
        return 0.0
    in_chunks = 5 * CHUNK + 10 * found.key + 3 * found.value + 10 + found.key * found.value / CHUNK
    outside = 2 * found.key + 6 * found.value
    recurrence = 4 * found.heads * (scanned * in_chunks + tokens * outside)
    convolution = tokens * 2 * found.channels * how.element
    return recurrence + convolution + layer_bytes(size, how, tokens, attention=0)


def largest_layer(size: ModelSize, how: Training, tokens: float, attention: float, scanned: float = 0) -> float:
    """Bytes that the largest language layer saves for its backward pass."""
    return max(layer_bytes(size, how, tokens, attention), recurrent_bytes(size, how, tokens, scanned or tokens))


def vision_bytes(size: ModelSize, how: Training, patches: float) -> float:
    """Bytes that a trained vision tower saves for its backward pass."""
    if how.vision == "frozen":
        return 0.0
    layer = patches * (SAVED_HIDDEN * size.vision_hidden + SAVED_INTERMEDIATE * size.vision_intermediate) * how.element
    kept = patches * size.vision_hidden * how.element
    return size.vision_layers * kept + 2 * layer if how.checkpointing else size.vision_layers * layer


def activations(
    size: ModelSize, how: Training, tokens: float, attention: float, patches: float, scanned: float = 0
) -> float:
    """Peak bytes of forward and backward over so many tokens, without logits.

    `attention` counts the elements that attention saves in a layer, `patches` what a trained vision tower sees, and
    `scanned` the tokens that linear attention computes, if those are more. With
    checkpointing a layer keeps only its input. One layer at a time is computed again, and its gradients need as much.
    """
    largest = largest_layer(size, how, tokens, attention, scanned)
    kept = tokens * size.hidden * how.element
    if how.checkpointing:
        language = size.layers * kept + 2 * largest
    else:
        language = largest + size.attention_layers * layer_bytes(size, how, tokens, attention)
        language += size.recurrent_layers * recurrent_bytes(size, how, tokens, scanned or tokens)
    return language + SAVED_OUTSIDE * kept + vision_bytes(size, how, patches)


def logits(size: ModelSize, how: Training, tokens: float) -> float:
    """Bytes of the completion tokens' logits and of one chunk in fp32.

    The gradient of the logits takes their place.
    """
    return size.vocabulary * (tokens * how.element + CHUNK_BYTES)


def features(size: ModelSize, how: Training, gib: float, clips: float, visual: float) -> float:
    """Bytes of kept vision features (stages/model/vision.py): at most `gib` GiB.

    `clips` have `visual` tokens each. A tower that is trained has no features to keep.
    """
    per_token = size.hidden * (1 + size.deepstack) * how.element
    return min(gib * 2**30, clips * visual * per_token) if how.vision == "frozen" else 0.0


def keys_and_values(size: ModelSize, how: Training, tokens: float) -> float:
    """Bytes of so many tokens' keys and values in all attention layers."""
    return 2 * size.attention_layers * size.kv_heads * size.head_dim * how.element * tokens


def recurrent_states(size: ModelSize, how: Training, texts: float) -> float:
    """Bytes of the states in all layers of linear attention.

    `texts` counts prompts and rows.
    """
    found = size.recurrence
    if found is None:
        return 0.0
    state = found.heads * found.key * found.value * 4 + found.channels * found.kernel * how.element
    return size.recurrent_layers * state * texts


def cache(size: ModelSize, how: Training, prompts: float, prompt: float, rows: float, completion: float) -> float:
    """Bytes of a rollout: keys, values, states and distributions of tokens.

    Each prompt's keys and values exist once. Each row has room for its own besides. A layer of linear attention has
    one state for each prompt and for each row instead, however many tokens they have.
    """
    kept = keys_and_values(size, how, prompts * prompt + rows * completion)
    return kept + recurrent_states(size, how, prompts + rows) + rows * size.vocabulary * DRAW_BYTES


def prefill(size: ModelSize, how: Training, prompts: float, prompt: float, rows: float, completion: float) -> float:
    """Bytes while prompts are read.

    They are the room for keys and values, and what one layer holds. A pass has as many prompts as
    stages/generation/prefill.py shares out.
    """
    tokens = min(prompts * prompt, max(prompt, MOST_TOKENS))
    room = keys_and_values(size, how, prompts * prompt + rows * completion) + recurrent_states(size, how, prompts)
    return room + largest_layer(size, how, tokens, packed_attention(size, tokens))
