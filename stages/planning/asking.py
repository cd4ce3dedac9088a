"""What it takes to ask the policy every RL question."""

from stages.planning.machine import Machine
from stages.planning.media import Media
from stages.planning.size import ModelSize
from stages.planning.work import Shape, decode, encode, prefill


def asking_seconds(
    size: ModelSize, media: Media, host: Machine, mfu: float, text: int, completion: int, answers: int,
    batch_tokens: int, weight: int, with_frames: float, blind: float,
) -> float:  # fmt: skip
    """Seconds to answer one question in all its showings.

    One device answers, at full length. `with_frames` and `blind` are the numbers of showings of each kind, `weight` is
    in bytes. As in the engine, the prompt is read once, and at most `batch_tokens` are decoded at once.
    """
    seconds = 0.0
    for shape, showings in ((media.shape(text, completion), with_frames), (Shape(text, 0, 0, completion), blind)):
        rows = answers * max(1, batch_tokens // (shape.prompt + answers * completion))
        once = (encode(shape, size) + prefill(shape)).flops(size)
        steps, drawn = answers * completion / rows, decode(shape, answers).flops(size)
        decoding = host.decode_seconds(steps, size.total * weight, size.layers, False, drawn, mfu)
        seconds += showings * (host.seconds(once, mfu) + decoding)
    return seconds
