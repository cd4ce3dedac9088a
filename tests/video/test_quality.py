import numpy as np
import pytest

from stages.data.sample import DataType
from stages.video.quality import Quality, brightness, flags, motion


def test_brightness_is_that_of_the_brightest_frame_and_motion_the_largest_step() -> None:
    luma_THW = np.stack([np.full((2, 2), level, dtype=np.int16) for level in (10, 30, 25)])
    assert brightness(luma_THW) == 30.0
    assert motion(luma_THW) == 20.0
    assert motion(luma_THW[:1]) is None


@pytest.mark.parametrize(
    ("quality", "data_type", "expected"),
    [
        (Quality(100.0, 5.0, 10.0, 2), "video", []),
        (Quality(11.9, 0.4, 0.9, 1), "video", ["black", "frozen", "short"]),
        (Quality(12.0, 0.5, 1.0, 1), "video", []),
        (Quality(100.0, 5.0, 30.1, 2), "video", ["few keyframes"]),
        (Quality(100.0, 5.0, 15.1, 0), "video", ["few keyframes"]),
        (Quality(100.0, 5.0, 99.0, None), "video", []),
        (Quality(5.0, None, 0.0, None), "image", ["black"]),
    ],
)
def test_a_flag_stands_where_its_number_is_out_of_bounds(
    quality: Quality, data_type: DataType, expected: list[str]
) -> None:
    assert flags(quality, data_type) == expected
