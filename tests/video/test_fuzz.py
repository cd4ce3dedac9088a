"""Whatever is wrong with a file, it costs this file alone."""

from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from stages.video.extract import Clip, row_of_clip
from stages.video.media import MediaError
from stages.video.probe import media_sha256, probe
from stages.video.workers import Limits, Sandbox
from tests.video.samples import params

KINDS = [
    *("h264.mp4", "hevc.mkv", "vp8.webm", "vp9.webm", "av1.mp4", "mpeg4-b-frames.avi", "h264-b-frames.asf", "h264.ts"),
    *("mpeg2.ts", "flv1.flv", "theora.ogv", "animated.gif", "fragmented.mp4", "rotated-90.mp4", "cover-art.mp4"),
]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with some bytes changed, most of them in its headers.

    Now and then a part is removed or repeated, or the end is cut off.
    """
    changed = bytearray(data)
    for place in rng.integers(0, min(len(changed), 4000), rng.integers(1, 30)):
        changed[place] = rng.integers(256)
    for place in rng.integers(0, len(changed), rng.integers(0, 30)):
        changed[place] = rng.integers(256)
    start, end = sorted(rng.integers(0, len(changed), 2))
    match rng.integers(6):
        case 0:
            del changed[start : min(end, start + 1000)]
        case 1:
            changed[start:start] = changed[start : min(end, start + 1000)]
        case 2:
            del changed[end:]
    return bytes(changed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_no_exception_leaves_a_worker(clips: Path, tmp_path: Path, rounds: int) -> None:
    rng = np.random.default_rng(rounds)
    files = []
    for name in KINDS:
        original = (clips / name).read_bytes()
        for number in range(rounds):
            files.append(tmp_path / f"{number}-{name}")
            files[-1].write_bytes(mutated(original, rng))
    wanted = [Clip(path.name, path, media_sha256(path), "video", None, None) for path in files]
    with Sandbox(Limits(workers=1, timeout_s=30, memory_mb=1024)) as sandbox:
        probed = list(sandbox.map(probe, files, Path))
        taken = list(sandbox.map(partial(row_of_clip, spec=params(max_corrupt=1000).spec), wanted, attrgetter("place")))
    refused = [result for result in (*probed, *taken) if isinstance(result, MediaError)]
    assert [error.detail for error in refused if error.reason == "internal error"] == []
    assert 0 < len(refused) < 2 * len(files)
