"""The frame store: what reading one sample at random costs, how large it is, and what adding 1 % of new samples rewrites.

    python -m speed.frame_store [SAMPLES]

Every sample is 16 frames of 224 x 420, cut out of a smooth random picture that moves, under noise. The peer reads the same pictures
from a Parquet file of a hundred samples in pyarrow's default row groups. The last line is JSON; times are CPU milliseconds per sample.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from stages.data.shards import ShardStore
from stages.run.files import sha256_file, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameReader, Frames, frames_from_row

log = logging.getLogger(__name__)

HEIGHT, WIDTH, FRAMES, READS = 224, 420, 16, 200
DISTINCT, PEER, LOADED = 20, 100, 64


def clip(number: int) -> Frames:
    """A window that moves over a smooth random picture, with a little noise, as a film has."""
    rng = np.random.default_rng(number)
    scene = Image.fromarray(rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)).resize(
        (640, 384), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 3, (FRAMES, HEIGHT, WIDTH, 1))
    windows = [np.asarray(scene.crop((8 * t, 4 * t, 8 * t + WIDTH, 4 * t + HEIGHT))) for t in range(FRAMES)]
    pictures_THWC = (np.stack(windows) + noise).clip(0, 255).astype(np.uint8)
    return Frames(pictures_THWC, np.arange(FRAMES), np.arange(FRAMES) / 2.0, 30.0)


def rows(numbers: range) -> Iterator[dict[str, Any]]:
    """Rows of a few distinct clips, again and again under new keys: making them takes longer than storing them."""
    made: dict[int, dict[str, Any]] = {}
    for number in numbers:
        if number % DISTINCT not in made:
            made[number % DISTINCT] = row_from_frames("", clip(number % DISTINCT), 95)
        yield made[number % DISTINCT] | {"key": f"key-{number:08d}"}


class Loaded(Dataset[int]):
    """The samples for a torch loader: the number of bytes of each one's frames, which have been decoded for it."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader, self._ids = reader, reader.sample_ids[:LOADED]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> int:
        return self._reader.load(self._ids[index]).frames_THWC.nbytes


def cpu_ms(work: Callable[[int], object], places: list[int]) -> float:
    start = time.process_time()
    for place in places:
        work(place)
    return 1000 * (time.process_time() - start) / len(places)


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ShardStore(folder / "frames", SCHEMA).append(rows(range(count)))
        write_table(
            folder / "frames.parquet",
            [{"sample_id": f"s{n}", "frame_key": f"key-{n:08d}"} for n in range(count)],
            FRAME_KEYS_SCHEMA,
        )
        pq.write_table(
            pa.Table.from_pylist(list(rows(range(min(count, PEER)))), schema=SCHEMA), folder / "peer.parquet"
        )

        reader, peer = (
            FrameReader(folder / "frames", folder / "frames.parquet"),
            pq.ParquetFile(folder / "peer.parquet"),
        )

        def read_peer(place: int) -> Frames:
            return frames_from_row(peer.read_row_group(0).slice(place, 1).to_pylist()[0])

        places = np.random.default_rng(0).permutation(count)[:READS].tolist()
        few = [place % min(count, PEER) for place in places[:5]]
        assert all((reader.load(f"s{place}").frames_THWC == read_peer(place).frames_THWC).all() for place in few)
        before = {path.name: sha256_file(path) for path in (folder / "frames").iterdir()}
        result = {
            "samples": count,
            "read_ms": round(cpu_ms(lambda place: reader.load(f"s{place}"), places), 2),
            "read_undecoded_ms": round(cpu_ms(lambda place: reader.pictures(f"s{place}"), places), 2),
            "peer_read_ms": round(cpu_ms(read_peer, few), 2),
            "kb_per_sample": round(sum(path.stat().st_size for path in (folder / "frames").iterdir()) / count / 1000),
        }
        loader = DataLoader(Loaded(reader), batch_size=8, num_workers=2)
        assert sum(int(batch.sum()) for batch in loader) == min(count, LOADED) * FRAMES * HEIGHT * WIDTH * 3

        ShardStore(folder / "frames", SCHEMA).append(rows(range(count, count + count // 100)))
        after = {path.name: sha256_file(path) for path in (folder / "frames").iterdir()}
        result["shards"], result["shards_added"] = len(before), len(after) - len(before)
        result["shards_rewritten"] = sum(after[name] != digest for name, digest in before.items())
    for name, number in result.items():
        log.info("%-20s %s", name, number)
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
