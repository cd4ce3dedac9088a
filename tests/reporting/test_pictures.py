"""Pictures inside the page."""

import io
from base64 import b64decode

import numpy as np
from PIL import Image

from stages.reporting.pictures import LARGEST, data_address


def test_small_pictures_are_passed_on_and_large_ones_scaled_down() -> None:
    small, large = _jpeg(48, 48), _jpeg(420, 224)
    assert b64decode(data_address(small).partition(",")[2]) == small
    shown = Image.open(io.BytesIO(b64decode(data_address(large).partition(",")[2])))
    assert shown.size == (LARGEST, 60)


def _jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 128, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()
