"""The orders in which a model can be shown the frames of one clip."""

import hashlib
from typing import Literal

import numpy as np

Order = Literal["ordered", "shuffled", "reversed", "single-frame"]


def permutation(n: int, order: Order, *seed: str | int) -> np.ndarray:
    """Indices order_T [n] to take the frames by: frames_THWC[permutation(...)].

    `shuffled` is drawn from the seed parts, usually (sample_id, seed), and is never the identity for n >= 2, so that the
    shuffled group of T-GRPO always sees another input than the ordered one. `single-frame` repeats the middle frame, which
    leaves the number of tokens as it is and takes the time away.
    """
    if order == "single-frame":
        return np.full(n, n // 2)
    if order == "reversed":
        return np.arange(n)[::-1].copy()
    if order == "ordered" or n < 2:
        return np.arange(n)
    digest = hashlib.sha256("\0".join(map(str, seed)).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    while True:
        order_T = rng.permutation(n)
        if (order_T != np.arange(n)).any():
            return order_T
