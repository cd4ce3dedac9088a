"""Perceptual hashes of frames, and the groups of clips that look the same by them."""

from collections.abc import Mapping

import numpy as np
from PIL import Image

NEAR = 4  # bits of 64, in the mean over the frames: a re-encoded clip differs by 1.5, a cropped one by 12, another one by 32
COSINES = np.cos(np.pi / 64 * np.arange(8)[:, None] * (2 * np.arange(32) + 1))  # the eight lowest waves of a DCT-II over 32 pixels


def phash(luma_THW: np.ndarray) -> np.ndarray:
    """64-bit hash [T] uint64 of each frame of luma [T, H, W] uint8: which of the 8 x 8 lowest frequencies are above their median.

    The frame is brought to 32 x 32 first, as in the imagehash library and its sources.
    """
    small_T = [np.asarray(Image.fromarray(luma_HW).resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2)) for luma_HW in luma_THW]
    low_TK = (COSINES @ np.stack(small_T).astype(np.float64) @ COSINES.T).reshape(len(luma_THW), 64)
    bits_TK = low_TK > np.median(low_TK, axis=1, keepdims=True)
    return np.packbits(bits_TK, axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_groups(hashes: Mapping[str, np.ndarray]) -> dict[str, str]:
    """By the name of each clip the first clip that looks the same, which may be itself.

    Clips are alike when they have as many frames and their hashes differ in at most NEAR bits in the mean. Each one is compared with
    the first of every group so far, frame by frame for as long as it can still be alike, which for most is three frames: 100,000
    distinct clips take about a minute.
    """
    first: dict[str, str] = {}
    groups: dict[int, _Groups] = {}
    for name, hash_T in hashes.items():
        known = groups.setdefault(len(hash_T), _Groups(len(hash_T)))
        first[name] = known.find(hash_T) or known.add(name, hash_T)
    return first


class _Groups:
    """The first clips of all groups of T frames; hashes_TN has room for more than there are."""

    def __init__(self, frames: int) -> None:
        self._names: list[str] = []
        self._hashes_TN = np.zeros((frames, 64), dtype=np.uint64)

    def find(self, hash_T: np.ndarray) -> str | None:
        alike_K = np.arange(len(self._names))
        bits_K = np.zeros(len(alike_K), dtype=np.int64)
        for hashes_N, one in zip(self._hashes_TN, hash_T, strict=True):
            bits_K = bits_K + np.bitwise_count(hashes_N[alike_K] ^ one)
            alike_K, bits_K = alike_K[bits_K <= NEAR * len(hash_T)], bits_K[bits_K <= NEAR * len(hash_T)]
            if not alike_K.size:
                return None
        return self._names[alike_K[bits_K.argmin()]]

    def add(self, name: str, hash_T: np.ndarray) -> str:
        if len(self._names) == self._hashes_TN.shape[1]:
            self._hashes_TN = np.concatenate([self._hashes_TN, np.zeros_like(self._hashes_TN)], axis=1)
        self._hashes_TN[:, len(self._names)] = hash_T
        self._names.append(name)
        return name
