"""Recognition in pictures as the frame store keeps them."""

import io

import numpy as np
import pytest
from PIL import Image

from stages.embedded.recognise import things, tint
from stages.embedded.world.glyphs import GLYPHS
from stages.embedded.world.scene import COLOURS, TINTS, Scene, Spot, draw


def stored(picture: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((48, 48), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95, subsampling=0)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("kind", GLYPHS)
def test_every_kind_is_seen_in_every_colour_on_every_backdrop(kind: str) -> None:
    for colour in COLOURS:
        for backdrop in TINTS:
            spot = Spot(2, 1, colour, kind)
            picture = stored(draw(Scene(backdrop, ((spot,),) * 4, (1, -2)))[0])
            assert things(picture) == (spot,)
            assert tint(picture) == backdrop


def test_things_are_seen_in_reading_order() -> None:
    spots = (Spot(2, 0, "red", "circle"), Spot(0, 2, "blue", "T"), Spot(0, 0, "green", "cross"))
    picture = stored(draw(Scene("navy", (spots,) * 4))[0])
    assert things(picture) == (spots[2], spots[1], spots[0])


def test_an_empty_backdrop_holds_nothing() -> None:
    assert things(stored(draw(Scene("teal", ((),) * 4))[0])) == ()


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (480, 640)])
def test_any_picture_can_be_looked_at(shape: tuple[int, int]) -> None:
    for picture in (np.zeros((*shape, 3), np.uint8), np.full((*shape, 3), 255, np.uint8)):
        assert tint(picture) in TINTS
        assert all(spot.kind in GLYPHS for spot in things(picture))
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert all(spot.colour in COLOURS for spot in things(noise))
