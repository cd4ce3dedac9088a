"""Scenes and how they are drawn."""

import numpy as np
import pytest

from stages.embedded.world.glyphs import GLYPHS
from stages.embedded.world.scene import COLOURS, FRAMES, SIZE, TINTS, Scene, Spot, backdrop, cells, draw, random_scene

LEFT = Spot(1, 0, "red", "square")
RIGHT = LEFT._replace(col=2)


def test_a_hop_is_drawn_between_the_second_and_the_third_moment() -> None:
    frames_THWC = draw(Scene("olive", ((LEFT,), (LEFT,), (RIGHT,), (RIGHT,))))
    assert frames_THWC.shape == (FRAMES, SIZE, SIZE, 3)
    assert frames_THWC.dtype == np.uint8
    red_TW = (frames_THWC[:, 31] == COLOURS["red"]).all(axis=-1)
    centres = [float(np.flatnonzero(row).mean()) for row in red_TW]
    assert centres[:7] == [10.0] * 7
    assert centres[7:9] == [14.0, 48.0]  # a tenth of the 42 pixels early, a tenth late
    assert centres[9:] == [52.0] * 7


def test_things_that_look_different_do_not_move_into_each_other() -> None:
    frames_THWC = draw(Scene("olive", ((LEFT,), (RIGHT._replace(colour="blue"),)) * 2))
    np.testing.assert_array_equal(frames_THWC[0], frames_THWC[3])
    np.testing.assert_array_equal(frames_THWC[4], frames_THWC[7])


def test_each_moment_lasts_four_frames() -> None:
    moments = tuple((LEFT._replace(colour=colour),) for colour in COLOURS)
    assert [spots[0].colour for spots in cells(Scene("navy", moments))] == [
        colour for colour in COLOURS for _ in range(4)
    ]


def test_the_backdrop_gets_redder_to_the_right_greener_downwards_and_keeps_its_blue() -> None:
    for tint, (_, _, blue) in TINTS.items():
        picture = backdrop(tint).astype(int)
        assert (picture[:, -1, 0] - picture[:, 0, 0] == 56).all()
        assert (picture[-1, :, 1] - picture[0, :, 1] == 56).all()
        assert (picture[..., 2] == blue).all()


def test_frames_of_a_still_scene_are_equal_so_that_none_tells_when_it_was() -> None:
    frames_THWC = draw(Scene("plum", ((LEFT,),) * 4))
    assert (frames_THWC == frames_THWC[0]).all()


@pytest.mark.parametrize("offset", [(-2, -2), (2, 2)])
def test_every_glyph_stays_in_its_cell_at_the_largest_offsets(offset: tuple[int, int]) -> None:
    for kind in GLYPHS:
        for row, col in np.ndindex(3, 3):
            picture = draw(Scene("teal", ((Spot(row, col, "yellow", kind),),) * 4, offset))[0]
            y, x = np.nonzero((picture == COLOURS["yellow"]).all(axis=-1))
            assert set(y * 3 // SIZE) == {row}
            assert set(x * 3 // SIZE) == {col}


def test_random_scenes_follow_their_seed_and_keep_things_in_cells_of_their_own() -> None:
    scenes = [random_scene(np.random.default_rng(7)) for _ in range(2)]
    assert scenes[0] == scenes[1]
    rng = np.random.default_rng(0)
    for moment in (moment for _ in range(50) for moment in random_scene(rng).moments):
        assert 1 <= len({(spot.row, spot.col) for spot in moment}) == len(moment) <= 4
