"""Perceptual hashes of frames, and groups of clips that look alike."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

# Bits of 64, in the mean over the frames. A re-encoded clip differs by 1.5, a cropped one by 12, another clip by 32.
NEAR = 4
# Clips that are compared one by one before they get an index: for so many, making the index takes longer. An index of
# many clips waits for a 64th as many.
INDEXED_AT_ONCE = 4096
# The eight lowest waves of a DCT-II over 32 pixels.
COSINES = np.cos(np.pi / 64 * np.arange(8)[:, None] * (2 * np.arange(32) + 1))


def phash(luma_THW: np.ndarray) -> np.ndarray:
    """64-bit hash [T] uint64 of each frame.

    luma_THW: uint8. The frame is resized to 32 x 32. Each bit says whether one of the 8 x 8 lowest frequencies is
    above their median, as in the imagehash library and its sources.
    """
    small_T = [
        np.asarray(Image.fromarray(luma_HW).resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2))
        for luma_HW in luma_THW
    ]
    low_TK = (COSINES @ np.stack(small_T).astype(np.float64) @ COSINES.T).reshape(len(luma_THW), 64)
    bits_TK = low_TK > np.median(low_TK, axis=1, keepdims=True)
    return np.packbits(bits_TK, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_groups(hashes: Mapping[str, np.ndarray]) -> dict[str, str]:
    """For each clip the first clip that looks like it.

    That may be the clip itself. `hashes` maps the name of a clip to its frames' hashes [T]. Clips look alike when
    they have as many frames and their hashes differ in at most NEAR bits in the mean. Each clip is compared with the
    first clip of every earlier group.
    """
    first: dict[str, str] = {}
    groups: dict[int, _Groups] = {}
    for name, hash_T in hashes.items():
        if len(hash_T) not in groups:
            groups[len(hash_T)] = _Groups(len(hash_T))
        known = groups[len(hash_T)]
        first[name] = known.find(hash_T) or known.add(name, hash_T)
    return first


class _Groups:
    """The first clips of all groups of T frames.

    _hashes_TN has room for more clips than there are. The latest clips are not in the index yet.
    """

    def __init__(self, frames: int) -> None:
        self._names: list[str] = []
        self._hashes_TN = np.zeros((frames, 64), dtype=np.uint64)
        self._index: _Index | None = None

    def find(self, hash_T: np.ndarray) -> str | None:
        """The nearest first clip that looks alike, the earliest of several."""
        alike_K = np.arange(self._indexed, len(self._names))
        if self._index:
            alike_K = np.concatenate([self._index.candidates(hash_T), alike_K])
        bits_K = np.zeros(len(alike_K), dtype=np.int64)
        for hashes_N, one in zip(self._hashes_TN, hash_T, strict=True):  # frame by frame, while some can still be alike
            bits_K = bits_K + np.bitwise_count(hashes_N[alike_K] ^ one)
            still_K = bits_K <= NEAR * len(hash_T)
            alike_K, bits_K = alike_K[still_K], bits_K[still_K]
            if not alike_K.size:
                return None
        nearest = alike_K[bits_K == bits_K.min()].min()
        return self._names[nearest]

    def add(self, name: str, hash_T: np.ndarray) -> str:
        """Make the clip the first of a new group; returns its name."""
        if len(self._names) == self._hashes_TN.shape[1]:
            self._hashes_TN = np.concatenate([self._hashes_TN, np.zeros_like(self._hashes_TN)], axis=1)
        self._hashes_TN[:, len(self._names)] = hash_T
        self._names.append(name)
        if len(self._names) == self._indexed + max(INDEXED_AT_ONCE, self._indexed // 64):
            self._index = _Index(self._hashes_TN[:, : len(self._names)])
        return name

    @property
    def _indexed(self) -> int:
        return self._index.size if self._index else 0


class _Index:
    """Clips by the 16-bit words of their hashes, four words a frame.

    Clips of T frames that differ in at most 4 T bits (NEAR in the mean) have one of their 4 T words in common, or
    they differ by one bit in each word, and so in the first. _order_WN: the clips sorted by each word. _starts_WV:
    where the clips with value v of word w begin in that order.
    """

    def __init__(self, hashes_TN: np.ndarray) -> None:
        words_WN = np.ascontiguousarray(hashes_TN.T).view(np.uint16).T
        self.size = hashes_TN.shape[1]
        self._order_WN = np.array([np.argsort(words_N, kind="stable") for words_N in words_WN], dtype=np.int32)
        self._starts_WV = np.array([_starts(words_N) for words_N in words_WN], dtype=np.int32)

    def candidates(self, hash_T: np.ndarray) -> np.ndarray:
        """Places of all clips that may look alike, some more than once.

        All places, where these are fewer.
        """
        word_W = hash_T.view(np.uint16).astype(np.int64)
        one_bit_off = word_W[0] ^ 1 << np.arange(16)
        words = np.concatenate([np.arange(len(word_W)), np.zeros(16, dtype=np.int64)])
        values = np.concatenate([word_W, one_bit_off])
        starts, ends = self._starts_WV[words, values], self._starts_WV[words, values + 1]
        if (ends - starts).sum() >= self.size:
            return np.arange(self.size)
        found = [self._order_WN[word, start:end] for word, start, end in zip(words, starts, ends, strict=True)]
        return np.concatenate(found)


def _starts(words_N: np.ndarray) -> np.ndarray:
    """For each value of 16 bits how many words are smaller."""
    counts = np.bincount(words_N.astype(np.int64) + 1, minlength=2**16 + 1)
    return counts.cumsum()
