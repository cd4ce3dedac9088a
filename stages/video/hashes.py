"""Perceptual hashes of frames, and the groups of clips that look the same by them."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

NEAR = 4  # bits of 64, in the mean over the frames: a re-encoded clip differs by 1.5, a cropped one by 12, another one by 32
INDEXED_AT_ONCE = 4096  # clips; as many are compared one by one in less time than their index takes
COSINES = np.cos(
    np.pi / 64 * np.arange(8)[:, None] * (2 * np.arange(32) + 1)
)  # the eight lowest waves of a DCT-II over 32 pixels


def phash(luma_THW: np.ndarray) -> np.ndarray:
    """64-bit hash [T] uint64 of each frame of luma [T, H, W] uint8: which of the 8 x 8 lowest frequencies are above their median.

    The frame is brought to 32 x 32 first, as in the imagehash library and its sources.
    """
    small_T = [
        np.asarray(Image.fromarray(luma_HW).resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2))
        for luma_HW in luma_THW
    ]
    low_TK = (COSINES @ np.stack(small_T).astype(np.float64) @ COSINES.T).reshape(len(luma_THW), 64)
    bits_TK = low_TK > np.median(low_TK, axis=1, keepdims=True)
    return np.packbits(bits_TK, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_groups(hashes: Mapping[str, np.ndarray]) -> dict[str, str]:
    """By the name of each clip the first clip that looks the same, which may be itself.

    Clips are alike when they have as many frames and their hashes differ in at most NEAR bits in the mean. Each one is compared with
    the first of every group so far that shares a piece of its hashes, frame by frame for as long as it can still be alike.
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
    """The first clips of all groups of T frames. hashes_TN has room for more than there are; the latest are not in the index yet."""

    def __init__(self, frames: int) -> None:
        self._names: list[str] = []
        self._hashes_TN = np.zeros((frames, 64), dtype=np.uint64)
        self._index: _Index | None = None

    def find(self, hash_T: np.ndarray) -> str | None:
        """The nearest first clip that is alike, the earliest of several."""
        alike_K = np.arange(self._indexed, len(self._names))
        if self._index:
            alike_K = np.concatenate([self._index.candidates(hash_T), alike_K])
        bits_K = np.zeros(len(alike_K), dtype=np.int64)
        for hashes_N, one in zip(self._hashes_TN, hash_T, strict=True):
            bits_K = bits_K + np.bitwise_count(hashes_N[alike_K] ^ one)
            alike_K, bits_K = alike_K[bits_K <= NEAR * len(hash_T)], bits_K[bits_K <= NEAR * len(hash_T)]
            if not alike_K.size:
                return None
        return self._names[alike_K[bits_K == bits_K.min()].min()]

    def add(self, name: str, hash_T: np.ndarray) -> str:
        if len(self._names) == self._hashes_TN.shape[1]:
            self._hashes_TN = np.concatenate([self._hashes_TN, np.zeros_like(self._hashes_TN)], axis=1)
        self._hashes_TN[:, len(self._names)] = hash_T
        self._names.append(name)
        if len(self._names) == self._indexed + INDEXED_AT_ONCE:
            self._index = _Index(self._hashes_TN[:, : len(self._names)])
        return name

    @property
    def _indexed(self) -> int:
        return self._index.size if self._index else 0


class _Index:
    """Clips by the 16-bit words of their hashes, four a frame.

    Clips of T frames that differ in at most 4 T bits (NEAR in the mean) have one of their 4 T words in common, or differ by one bit in
    each of them and so in the first. order_WN are the clips sorted by each word; those whose word w is v stand from starts[w, v] on.
    """

    def __init__(self, hashes_TN: np.ndarray) -> None:
        words_WN = np.ascontiguousarray(hashes_TN.T).view(np.uint16).T
        self.size = hashes_TN.shape[1]
        self._order_WN = np.array([np.argsort(words_N, kind="stable") for words_N in words_WN], dtype=np.int32)
        self._starts = np.array(
            [np.bincount(words_N.astype(np.int64) + 1, minlength=2**16 + 1).cumsum() for words_N in words_WN], np.int32
        )

    def candidates(self, hash_T: np.ndarray) -> np.ndarray:
        """Places of all clips that may be alike, some more than once; all places where that is fewer."""
        word_W = hash_T.view(np.uint16).astype(np.int64)
        words = np.concatenate([np.arange(len(word_W)), np.zeros(16, dtype=np.int64)])
        values = np.concatenate([word_W, word_W[0] ^ 1 << np.arange(16)])
        starts, ends = self._starts[words, values], self._starts[words, values + 1]
        if (ends - starts).sum() >= self.size:
            return np.arange(self.size)
        return np.concatenate(
            [self._order_WN[word, start:end] for word, start, end in zip(words, starts, ends, strict=True)]
        )
