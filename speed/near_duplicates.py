"""CPU time of grouping clips that look alike, against comparing them all.

    python -m speed.near_duplicates [CLIPS...]

The clips have 16 frames with random hashes. Every tenth is a copy of an earlier clip with up to 64 of its 1,024 bits
turned over. The peer compares each clip with the first clip of every group. Both ways run in this process and must give
the same groups. The last line is JSON.
"""

import json
import logging
import time
from collections.abc import Mapping

import numpy as np

from speed.arguments import parser
from stages.video.hashes import NEAR, near_groups

log = logging.getLogger(__name__)

FRAMES = 16


def clips(count: int) -> dict[str, np.ndarray]:
    """Hashes [T] uint64 of `count` clips, by name."""
    rng = np.random.default_rng(0)
    hashes_NT = rng.integers(0, 2**64, (count, FRAMES), dtype=np.uint64)
    for place in range(10, count, 10):
        bits = np.unpackbits(hashes_NT[rng.integers(place)].view(np.uint8))
        bits[rng.permutation(bits.size)[: rng.integers(NEAR * FRAMES)]] ^= 1
        hashes_NT[place] = np.packbits(bits).view(np.uint64)
    return {str(place): hash_T for place, hash_T in enumerate(hashes_NT)}


def plainly(hashes: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The same groups, by comparing each clip with all first clips.

    The comparison goes frame by frame, for as long as clips can still be alike.
    """
    names: list[str] = []
    hashes_TN = np.zeros((FRAMES, len(hashes)), dtype=np.uint64)
    first: dict[str, str] = {}
    for name, hash_T in hashes.items():
        alike_K, bits_K = np.arange(len(names)), np.zeros(len(names), dtype=np.int64)
        for hashes_N, one in zip(hashes_TN, hash_T, strict=True):
            bits_K = bits_K + np.bitwise_count(hashes_N[alike_K] ^ one)
            alike_K, bits_K = alike_K[bits_K <= NEAR * FRAMES], bits_K[bits_K <= NEAR * FRAMES]
            if not alike_K.size:
                break
        if alike_K.size:
            first[name] = names[alike_K[bits_K.argmin()]]
            continue
        hashes_TN[:, len(names)] = hash_T
        names.append(name)
        first[name] = name
    return first


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("clips", nargs="*", type=int, default=[10_000, 30_000, 100_000])
    counts: list[int] = arguments.parse_args().clips
    result: dict[str, dict[str, float]] = {}
    for count in counts:
        hashes = clips(count)
        times = []
        groups = []
        for way in (near_groups, plainly):
            start = time.process_time()
            groups.append(way(hashes))
            times.append(time.process_time() - start)
        assert groups[0] == groups[1]
        result[str(count)] = {
            "cpu_s": round(times[0], 1),
            "peer_cpu_s": round(times[1], 1),
            "ratio": round(times[1] / times[0], 1),
        }
        log.info("%d clips, %d groups: %s", count, len(set(groups[0].values())), result[str(count)])
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
