import numpy as np
from PIL import Image
from scipy.fft import dctn

from stages.video.hashes import near_groups, phash


def picture(seed: int) -> np.ndarray:
    """A smooth random picture [90, 120] uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC))


def bits(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.bitwise_count(phash(first[None]) ^ phash(second[None]))[0])


def test_a_hash_says_which_of_the_lowest_frequencies_are_above_their_median() -> None:
    square = np.asarray(Image.fromarray(picture(0)).resize((32, 32)))
    low = np.asarray(dctn(square.astype(float)))[:8, :8].ravel()
    expected = sum(1 << 63 - place for place in range(64) if low[place] > np.median(low))
    assert phash(square[None]).tolist() == [expected]


def test_other_sizes_and_other_light_keep_the_hash_and_other_pictures_do_not() -> None:
    one = picture(1)
    assert bits(one, np.asarray(Image.fromarray(one).resize((60, 45), Image.Resampling.BICUBIC))) <= 2
    assert bits(one, (one * 0.7).astype(np.uint8)) <= 2
    assert bits(one, one[:, ::-1]) > 20
    assert bits(one, picture(2)) > 20


def test_clips_are_grouped_with_the_first_that_differs_by_four_bits_or_less_in_the_mean() -> None:
    base = np.array([0, 0], dtype=np.uint64)
    clips = {
        "a": base,
        "b": np.array([0b1111, 0b1111], dtype=np.uint64),  # 4 bits from a
        "c": np.array([0xFF, 0], dtype=np.uint64),  # 8 and 0 bits from a: 4 in the mean
        "d": np.array([0xFF, 1], dtype=np.uint64),  # 4.5 from a
        "e": np.array([0xFF, 0b11], dtype=np.uint64),  # 5 from a, 0.5 from d
        "one frame": base[:1],
    }
    assert near_groups(clips) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "d", "one frame": "one frame"}


def test_more_groups_than_there_was_room_for_are_all_found_again() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, (300, 3), dtype=np.uint64)
    clips = {f"{number}": hash_T for number, hash_T in enumerate(hashes)} | {f"{number} again": hashes[number] for number in range(300)}
    groups = near_groups(clips)
    assert all(groups[f"{number}"] == groups[f"{number} again"] == f"{number}" for number in range(300))
