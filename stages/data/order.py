"""The orders in which a model sees the frames of a clip."""

import hashlib
from typing import Literal

import numpy as np

Order = Literal["ordered", "shuffled", "reversed", "single-frame", "blind"]


def permutation(n: int, order: Order, *seed: str | int) -> np.ndarray:
    """Indices order_T [n] to take the frames by: frames_THWC[permutation(...)].

    `shuffled` is drawn from the seed parts, usually (sample_id, seed). For n >= 2 it is never the identity, so that
    the shuffled group of T-GRPO always sees another input than the ordered group. `single-frame` repeats the middle
    frame: the number of tokens stays, and the time is gone. `blind` takes no frame at all.
    """
    if order == "blind":
        return np.arange(0)
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
