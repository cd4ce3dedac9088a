"""Log-probabilities of a server's answers, held against those of this process."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from stages.chat.reply import Reply
from stages.chat.request import frame_rate
from stages.handshake.asked import ANSWER_TOKENS, Asked
from stages.model.inputs import Prompt, PromptBuilder
from stages.model.load import load_model
from stages.video.frame_store import Frames

log = logging.getLogger(__name__)

LARGEST_MEAN, LARGEST = 0.03, 0.5
"""Nats: bounds on the mean and on the largest difference.

Measured with the embedded SFT and T-GRPO models, 8 answers of up to 32 tokens, 8 times each: between bf16 and fp32 the
largest difference is 0.04 at most (mean 0.001); with a wrong frame rate it is 1.09 at least (mean 0.022).
"""
USUAL_RATES = (1.0, 2.0)  # frames per second that servers take where they were told none


@dataclass(frozen=True)
class Agreement:
    """Absolute differences of log-probabilities, in nats, over `n` tokens."""

    n: int
    mean: float
    largest: float

    @property
    def holds(self) -> bool:
        """Whether rounding explains the differences."""
        return self.mean <= LARGEST_MEAN and self.largest <= LARGEST

    def __str__(self) -> str:
        return f"by {self.mean:.4f} on average and {self.largest:.3f} at most, over {self.n} tokens"


def why_no_weights(folder: Path) -> str:
    """Why the model cannot be loaded here, "" when it can."""
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    if not sizes:
        return f"{folder} holds no weights"
    needed, free = 2 * sum(sizes), psutil.virtual_memory().available  # files of 16 bits become fp32
    if needed > free:
        return f"the weights would take {needed / 2**30:.0f} GiB of memory, and {free / 2**30:.0f} GiB are free"
    return ""


def difference(folder: Path, builder: PromptBuilder, answered: Sequence[tuple[Asked, Reply]]) -> str:
    """What differs, and what to set; "" where the log-probabilities agree.

    Only answers with log-probabilities and to prompts of one medium take part. The model runs on the CPU, because the
    server may have the GPU.
    """
    pairs = [(asked, reply) for asked, reply in answered if asked.is_one_medium and reply.logprobs]
    if not pairs:
        log.info("handshake: the server sent no log-probabilities that can be compared, only counts of tokens")
        return ""
    model = load_model(folder)
    found = agreement(model, builder, pairs)
    if found is None:
        log.info("handshake: no answer could be divided into the same tokens here, so only counts were compared")
        return ""
    if found.holds:
        log.info("handshake: log-probabilities differ %s, as rounding does", found)
        return ""
    if rate := _rate_that_fits(model, builder, pairs):
        own = frame_rate(pairs[0][0].request.times)
        return (
            f"the frame rate: log-probabilities differ {found}, because the server takes the frames for {rate:g} per "
            f"second (the first clip has {own:.3g}); take a version of vLLM that reads media_io_kwargs of a request"
        )
    return (
        f"log-probabilities differ {found}, more than rounding does: other weights or a quantised model, pixels that "
        f"are changed, or other positions; serve {folder} itself, with its own processor files"
    )


def agreement(
    model: PreTrainedModel, builder: PromptBuilder, pairs: Sequence[tuple[Asked, Reply]], rate: float | None = None
) -> Agreement | None:
    """How far the log-probabilities are apart, None without common tokens.

    With `rate`, the frames of clips follow one another at that rate here.
    """
    differences = list(_differences(model, builder, pairs, rate))
    if not differences:
        return None
    every_N = torch.cat(differences)
    return Agreement(len(every_N), float(every_N.mean()), float(every_N.max()))


def _differences(
    model: PreTrainedModel, builder: PromptBuilder, pairs: Sequence[tuple[Asked, Reply]], rate: float | None
) -> Iterator[Tensor]:
    for asked, reply in pairs:
        sent = reply.logprobs[:ANSWER_TOKENS]  # a server may take no notice of max_tokens
        tokens = [each.token for each in sent]
        ids = builder.tokenizer("".join(tokens), add_special_tokens=False)["input_ids"]
        if [builder.tokenizer.decode([token]) for token in ids] != tokens:
            continue  # the server divided the text in another way, or cut a letter in two
        prompt = builder(asked.sample, _timed(asked, rate), asked.order_T)
        theirs_C = torch.tensor([each.logprob for each in sent])
        yield (theirs_C - token_logps(model, builder, prompt, torch.tensor(ids))).abs()


@torch.no_grad()
def token_logps(model: PreTrainedModel, builder: PromptBuilder, prompt: Prompt, ids_C: Tensor) -> Tensor:
    """Log-probabilities [C] of the tokens ids_C after the prompt."""
    inputs = builder.normalised(builder.batch([prompt], [ids_C]))
    del inputs["labels"]
    logits_1LV = model(**inputs, logits_to_keep=len(ids_C) + 1, use_cache=False).logits
    logps_CV = logits_1LV[0, :-1].float().log_softmax(dim=1)
    return logps_CV.gather(1, ids_C[:, None])[:, 0]


def _timed(asked: Asked, rate: float | None) -> Frames:
    if rate is None or asked.sample.data_type == "image":
        return asked.frames
    return dataclasses.replace(asked.frames, pts_T=np.arange(len(asked.frames.pts_T)) / rate)


def _rate_that_fits(
    model: PreTrainedModel, builder: PromptBuilder, pairs: Sequence[tuple[Asked, Reply]]
) -> float | None:
    """The usual frame rate that explains the server's answers, None without one."""
    clips = [(asked, reply) for asked, reply in pairs if asked.sample.data_type == "video"]
    for rate in USUAL_RATES:
        found = agreement(model, builder, clips, rate)
        if found and found.holds:
            return rate
    return None
