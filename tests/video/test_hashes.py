import numpy as np
import pytest
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


def flipped(hash_T: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The hashes with the bits at these places turned over."""
    bits_T64 = np.unpackbits(hash_T.view(np.uint8)).copy()
    bits_T64[bits] ^= 1
    return np.packbits(bits_T64).view(np.uint64)


def plainly(hashes_NT: np.ndarray) -> list[int]:
    """The place of each clip's group, by comparing all first clips."""
    firsts: list[int] = []
    groups = []
    for place, hash_T in enumerate(hashes_NT):
        bits_F = np.bitwise_count(hashes_NT[firsts] ^ hash_T).sum(axis=1, dtype=int)
        alike = bits_F.size > 0 and bits_F.min() <= 4 * len(hash_T)
        groups.append(firsts[int(bits_F.argmin())] if alike else place)
        if not alike:
            firsts.append(place)
    return groups


@pytest.mark.parametrize("frames", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_far_more_clips_than_are_compared_one_by_one_fall_into_the_same_groups(frames: int) -> None:
    rng = np.random.default_rng(frames)
    others_NT = rng.integers(0, 2**64, (4000, frames), dtype=np.uint64)
    words = 16 * np.arange(4 * frames)  # the hardest to find: one bit in each word of 16, so that no word is left
    planted = [flipped(others_NT[n], words + rng.integers(0, 16, 4 * frames)) for n in range(200)]
    planted += [flipped(others_NT[n], rng.permutation(64 * frames)[: 4 * frames + n % 3 - 1]) for n in range(200, 600)]
    two_words_NT = rng.choice(np.array([0, 0xFFFF], dtype=np.uint16), (2000, 4 * frames)).view(
        np.uint64
    )  # half of them share each word
    hashes_NT = np.concatenate([others_NT, two_words_NT[:1500], planted, two_words_NT[1500:]])
    groups = near_groups({str(place): hash_T for place, hash_T in enumerate(hashes_NT)})
    expected = plainly(hashes_NT)
    assert [int(first) for first in groups.values()] == expected
    assert expected[5500:5700] == list(range(200))
    assert {group < 4000 for group in expected[5700:6100]} == {True, False}
