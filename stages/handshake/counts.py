"""How many tokens a prompt has, and why a server counts others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from stages.chat.request import Request
from stages.handshake.asked import Asked
from stages.handshake.folder import settings
from stages.model.inputs import PromptBuilder

PROCESSOR_FILES = {
    "video": ("video_preprocessor_config.json", "preprocessor_config.json"),
    "image": ("preprocessor_config.json",),
}
_TYPES = {"video_url": "video", "image_url": "image"}
_MARKS = 2  # tokens around each medium: its start and its end


@dataclass(frozen=True)
class Counts:
    """Tokens of a whole prompt, and of the same question without frames."""

    prompt: int
    text: int

    @property
    def frames(self) -> int:
        """Tokens that the frames take, with the marks around them."""
        return self.prompt - self.text


def prompt_tokens(builder: PromptBuilder, asked: Asked) -> int:
    """Tokens of the prompt in this process.

    UnusableSample when the size of the frames does not fit the model's grid.
    """
    if asked.is_one_medium:
        return len(builder(asked.sample, asked.frames, asked.order_T).ids_P)
    return request_tokens(builder, asked.request, tokens_per_picture(builder, asked))


def request_tokens(builder: PromptBuilder, request: Request, per_picture: int = 0) -> int:
    """Tokens of a request whose frames are pictures, or which has none."""
    body = request.body()
    text = builder.tokenizer.apply_chat_template(
        [{"role": "user", "content": [_part(part) for part in _content(body)]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    return len(builder.tokenizer(text, add_special_tokens=False)["input_ids"]) + len(request.pictures) * (
        per_picture - 1
    )


def tokens_per_picture(builder: PromptBuilder, asked: Asked) -> int:
    """Tokens of one picture, or of one frame pair of a video."""
    _, height, width, _ = asked.frames.frames_THWC.shape
    return (height // builder.factor) * (width // builder.factor)


def difference(folder: Path, builder: PromptBuilder, asked: Asked, theirs: Counts, ours: Counts) -> str:
    """What makes the server's count another one, and what to set."""
    if theirs.text != ours.text:
        return (
            f"the template: the question without frames has {theirs.text} tokens there and {ours.text} here; serve the "
            "model with the chat template of its folder (vLLM: --chat-template) and without a system prompt"
        )
    frames, kind = asked.frames.frames_THWC, "video" if asked.request.is_video else "image"
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    per_step = tokens_per_picture(builder, asked) + (0 if kind == "video" else _MARKS)
    writes_times = kind == "video" and builder.family.timed_frames
    if writes_times and abs(theirs.frames - ours.frames) < per_step:
        return (
            f"the text around the frames of a clip: they take {theirs.frames} tokens there and {ours.frames} here; "
            + _other_text(builder)
        )
    low, high, file = _pixels(folder, kind)
    if file and not low <= math.prod(frames.shape[0 if writes_times else 1 : 3]) <= high:
        return (
            f"the size of the frames: they take {theirs.frames} tokens there and {ours.frames} here, because the "
            f"server changes {size} to fit {file}, {low} to {high} pixels; set min_pixels, max_pixels and, for long "
            "clips, total_pixels (frames.* for training data, benchmark.defaults.* for a benchmark) inside these and "
            "make the frames anew, or other bounds in extra_body: { mm_processor_kwargs: { min_pixels: …, "
            "max_pixels: … } }"
        )
    steps, rest = divmod(theirs.frames - (_MARKS if kind == "video" else 0), per_step)
    if not rest and steps and asked.sample.data_type == "video":
        shown = f"about {steps * 2}" if kind == "video" else str(steps)
        return (
            f"the number of frames: the server shows {shown} of {len(frames)}; start vLLM with "
            """--media-io-kwargs '{"video": {"num_frames": -1}}' or, for pictures, a larger --limit-mm-per-prompt"""
        )
    return (
        f"the frames of {size}: they take {theirs.frames} tokens there and {ours.frames} here; serve the folder's own "
        "processor files"
    )


def _other_text(builder: PromptBuilder) -> str:
    """What makes both show the same text around a clip's frames."""
    template = builder.tokenizer.chat_template
    if builder.family.portable_template(template, "frames") == template:
        return "serve the folder with its own chat template"
    other = "frames" if builder.video_text == "enclosed" else "enclosed"
    return f"base.video_text: {other} (in the model's pipeline.json) makes this process show what the server shows"


def _content(body: Mapping[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """The content parts of a request's only message."""
    match body:
        case {"messages": [{"content": list(parts)}]}:
            return [part for part in parts if isinstance(part, dict)]
        case {"messages": [{"content": str(text)}]}:
            return [{"type": "text", "text": text}]
        case _:
            raise ValueError("a request has one message with a text or a list of parts")


def _part(part: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A content part as a chat template takes it."""
    return {"type": _TYPES[str(part["type"])]} if part["type"] in _TYPES else dict(part)


def _pixels(folder: Path, kind: str) -> tuple[int, int, str]:
    """The fewest and most pixels of a frame, and their file.

    The file is "" where no file has them.
    """
    for name in PROCESSOR_FILES[kind]:
        found = settings(folder / name)
        size = found["size"] if isinstance(found.get("size"), dict) else {}
        low = found.get("min_pixels") or size.get("shortest_edge")
        high = found.get("max_pixels") or size.get("longest_edge")
        if isinstance(low, int) and isinstance(high, int):
            return low, high, name
    return 0, 0, ""
