"""Stored frames as small pictures inside the page."""

import io
from base64 import b64encode
from collections.abc import Sequence

from PIL import Image

from stages.video.frame_store import FrameReader

MOST_FRAMES = 8
LARGEST = 112  # pixels; a larger frame is scaled down, a smaller frame is shown as it is


def frame_strip(reader: FrameReader, sample_id: str, order: Sequence[int] | None = None) -> list[tuple[int, str]]:
    """Up to 8 frames of a sample, evenly spread over `order`.

    Without `order`, the frames come as they are stored. Each frame is its number, counted from 1, and a `data:`
    address.
    """
    pictures = reader.pictures(sample_id)
    shown = list(order) if order is not None else list(range(len(pictures)))
    count = min(MOST_FRAMES, len(shown))
    places = [round(index * (len(shown) - 1) / max(1, count - 1)) for index in range(count)]
    return [(shown[place] + 1, data_address(pictures[shown[place]])) for place in places]


def data_address(picture: bytes) -> str:
    """An encoded picture as a `data:` address.

    A small picture keeps its stored bytes.
    """
    image = Image.open(io.BytesIO(picture))
    kind = "jpeg" if image.format == "JPEG" else "webp"
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=85)
        picture, kind = buffer.getvalue(), "jpeg"
    return f"data:image/{kind};base64,{b64encode(picture).decode()}"
