"""One question to a server: frames and text as a chat request.

Frames travel in one of two payloads, always as the stored bytes (JPEG, or WebP where the frame store is lossless):

`images`  Each frame is an image part, `data:image/jpeg;base64,…`. Every vision server takes it. vLLM needs
          `--limit-mm-per-prompt '{"image": 16}'`, at least the frames per clip. A Qwen model then sees pictures, and
          no video.
`video`   The frames of a clip are one video part, vLLM's `data:video/jpeg;base64,FRAME,FRAME,…`. vLLM needs
          `--limit-mm-per-prompt '{"video": 1}'` and `--trust-request-mm-kwargs`: each request says the frame rate of
          its clip and that all frames count. Without the rate, vLLM takes one frame per second, and the model answers
          about other times. Versions before vllm-project/vllm#37301 refuse this payload for Qwen3-VL. A sample of type
          image still travels as an image part.
"""

import hashlib
import io
import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image
from pydantic import JsonValue

from stages.chat.parameters import EndpointParams, FrameTimes, MaxTokensField, Payload
from stages.data.sample import DataType

JPEG_START = b"\xff\xd8"
TOKEN_SIDE = 28  # pixels: one token of Qwen2.5-VL covers 28x28


@dataclass(frozen=True)
class ChatSampling:
    """How the server draws the answer's tokens.

    Fields that are None are not sent.
    """

    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None = None


@dataclass(frozen=True)
class Dialect:
    """The part of the body in which servers differ."""

    extra_body: Mapping[str, JsonValue] = field(default_factory=dict)
    max_tokens_field: MaxTokensField = "max_tokens"
    send_seed: bool = True

    @classmethod
    def of(cls, params: EndpointParams) -> "Dialect":
        """The dialect of the server that `params` names."""
        return cls(params.extra_body, params.max_tokens_field, params.send_seed)

    def body(self, sampling: ChatSampling) -> dict[str, JsonValue]:
        """The sampling in the server's names, and the further fields."""
        fields = {name: value for name, value in vars(sampling).items() if value is not None}
        fields[self.max_tokens_field] = fields.pop("max_tokens")
        if not self.send_seed:
            fields.pop("seed", None)
        return {**fields, **self.extra_body}


PLAIN = Dialect()


@dataclass(frozen=True)
class Request:
    """One user turn: frames in order, then the text.

    `times` are the seconds of the frames, as their clip shows them; the rate of a video is computed from them.
    `identity` is whatever else decides the answer but is not sent: the embedded teacher's settings and code.
    """

    model: str
    text: str
    pictures: tuple[bytes, ...]
    data_type: DataType
    payload: Payload
    sampling: ChatSampling
    identity: str = ""
    dialect: Dialect = PLAIN
    times: tuple[float, ...] = ()
    frame_times: FrameTimes = "none"
    logprobs: bool = False  # of the answer's tokens: the answer stays the same

    @property
    def is_video(self) -> bool:
        """Whether there are frames, and they travel as one video."""
        return self.payload == "video" and self.data_type == "video" and bool(self.pictures)

    @property
    def shows_times(self) -> bool:
        """Whether the time of each frame stands before it as text."""
        return self.frame_times == "text" and self.data_type == "video" and not self.is_video

    @cached_property
    def key(self) -> str:
        """SHA-256 over everything that decides the answer.

        The bytes of every frame are part of it. The plain dialect is left out, so that keys made before there were
        dialects stay valid. The seed is part of it even where it is not sent: several answers to one question differ
        only in the seed.
        """
        parts = [self.model, self.text, self.data_type, self.payload, vars(self.sampling), self.identity]
        frames = [hashlib.sha256(picture).hexdigest() for picture in self.pictures]
        dialect = [vars(self.dialect)] if self.dialect != PLAIN else []
        times = [self.times] if self.times and (self.is_video or self.shows_times) else []
        return hashlib.sha256(json.dumps([*parts, frames, *dialect, *times], sort_keys=True).encode()).hexdigest()

    @cached_property
    def prompt_estimate(self) -> int:
        """About how many tokens the prompt has, rounded up.

        One token for 2 bytes of text and one for 28x28 pixels of each frame, with 2 more per frame and 32 per request.
        """
        width, height = Image.open(io.BytesIO(self.pictures[0])).size if self.pictures else (0, 0)
        tokens_per_frame = math.ceil(width / TOKEN_SIDE) * math.ceil(height / TOKEN_SIDE) + 2
        return 32 + len(self.text.encode()) // 2 + len(self.pictures) * tokens_per_frame

    def body(self) -> dict[str, JsonValue]:
        """The JSON body to post."""
        messages: list[JsonValue] = [{"role": "user", "content": self._content()}]
        settings: dict[str, JsonValue] = {}
        if self.is_video and self.times:
            settings["media_io_kwargs"] = {"video": {"fps": frame_rate(self.times), "num_frames": -1}}
        if self.logprobs:
            settings["logprobs"] = True
        return {"model": self.model, "messages": messages, **settings, **self.dialect.body(self.sampling)}

    def _content(self) -> JsonValue:
        """Frames and text as parts; text alone as a string.

        Some servers of text models drop a list of parts without a word (llama-cpp-python 0.3.36).
        """
        if not self.pictures:
            return self.text
        frames = frame_parts(self.pictures, self.is_video, self.times if self.shows_times else ())
        return [*frames, {"type": "text", "text": self.text}]


def frame_rate(times: Sequence[float]) -> float:
    """Frames per second, as Qwen's processors take it.

    They turn the rate back into the seconds between two frames, 2 / rate, and round times by it. Of the numbers that
    differ by the last bit, the rate is the one whose 2 / rate is exactly the time that we count ourselves
    (`seconds_per_grid`). A single frame has the rate 2.
    """
    if len(times) < 2 or times[-1] <= times[0]:
        return 2.0
    seconds = 2 * (times[-1] - times[0]) / (len(times) - 1)
    nearest = 2 / seconds
    candidates = (nearest, math.nextafter(nearest, math.inf), math.nextafter(nearest, 0.0))
    return min(candidates, key=lambda rate: abs(2 / rate - seconds))


def frame_parts(pictures: Sequence[bytes], is_video: bool, times: Sequence[float]) -> list[dict[str, JsonValue]]:
    """The content parts that carry the frames.

    With `times`, the time of each frame stands before it.
    """
    frames = [b64encode(picture).decode() for picture in pictures]
    if is_video:
        return [{"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(frames)}"}}]
    types = ["jpeg" if picture.startswith(JPEG_START) else "webp" for picture in pictures]
    urls = [f"data:image/{kind};base64,{frame}" for kind, frame in zip(types, frames, strict=True)]
    images: list[dict[str, JsonValue]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    if not times:
        return images
    words: list[dict[str, JsonValue]] = [{"type": "text", "text": f"[{time:.1f} s]"} for time in times]
    return [part for pair in zip(words, images, strict=True) for part in pair]
