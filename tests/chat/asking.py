"""Requests and parameters that the chat tests share."""

import asyncio
import io

import numpy as np
from PIL import Image

from stages.chat.client import ChatClient
from stages.chat.parameters import ChatParams, FrameTimes, Payload
from stages.chat.reply import Reply
from stages.chat.request import PLAIN, ChatSampling, Dialect, Request

SAMPLING = ChatSampling(temperature=1.0, top_p=0.95, max_tokens=512, seed=7)


def jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((28, 56, 3), shade, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(
    text: str = "which way?",
    pictures: tuple[bytes, ...] = (),
    payload: Payload = "images",
    times: tuple[float, ...] = (),
    frame_times: FrameTimes = "none",
    dialect: Dialect = PLAIN,
) -> Request:
    return Request(
        *("teacher", text, pictures, "video", payload, SAMPLING),
        times=times,
        frame_times=frame_times,
        dialect=dialect,
    )


def params(url: str, **changes: object) -> ChatParams:
    return ChatParams.model_validate(
        {"base_url": url, "model": "teacher", "timeout_s": 1.0, "retries": 2, "concurrency": 4, **changes}
    )


def ask(parameters: ChatParams, *requests: Request) -> list[Reply]:
    async def ask_in_turn() -> list[Reply]:
        async with ChatClient(parameters) as client:
            return [await client.request(each) for each in requests]

    return asyncio.run(ask_in_turn())
