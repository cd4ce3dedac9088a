"""What the frame store costs: reading a sample, its size, adding samples.

    python -m speed.frame_store [SAMPLES]

Every sample is 16 frames of 224 x 420, cut out of a smooth random picture that moves, under noise. Samples are read at
random; then 1 % more are added, and rewritten shards are counted. The peer reads the same pictures from a Parquet file
of a hundred samples in pyarrow's default row groups. The last line is JSON; times are CPU milliseconds per sample.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from speed.arguments import parser
from stages.data.shards import ShardStore
from stages.run.files import sha256_file, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameReader, FrameRow, Frames, frames_from_row

log = logging.getLogger(__name__)

HEIGHT, WIDTH, FRAMES, READS = 224, 420, 16, 200
DISTINCT, PEER, LOADED = 20, 100, 64


def clip(number: int, height: int, width: int) -> Frames:
    """A window that moves over a smooth random picture, under noise."""
    rng = np.random.default_rng(number)
    scene = Image.fromarray(rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)).resize(
        (640, 384), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 3, (FRAMES, height, width, 1))
    windows = [np.asarray(scene.crop((8 * t, 4 * t, 8 * t + width, 4 * t + height))) for t in range(FRAMES)]
    pictures_THWC = (np.stack(windows) + noise).clip(0, 255).astype(np.uint8)
    return Frames(pictures_THWC, np.arange(FRAMES), np.arange(FRAMES) / 2.0, 30.0)


def rows(numbers: range, height: int = HEIGHT, width: int = WIDTH) -> Iterator[FrameRow]:
    """Rows of a few distinct clips, repeated under new keys.

    Making a clip takes longer than storing it.
    """
    made: dict[int, FrameRow] = {}
    for number in numbers:
        if number % DISTINCT not in made:
            made[number % DISTINCT] = row_from_frames("", clip(number % DISTINCT, height, width), 95)
        yield {**made[number % DISTINCT], "key": f"key-{number:08d}"}


class Loaded(Dataset[int]):
    """Samples for a torch loader: the bytes of each one's decoded frames."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader, self._ids = reader, reader.sample_ids[:LOADED]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> int:
        return self._reader.load(self._ids[index]).frames_THWC.nbytes


def cpu_ms(work: Callable[[int], object], places: list[int]) -> float:
    """Mean CPU milliseconds of `work` on a place."""
    start = time.process_time()
    for place in places:
        work(place)
    return 1000 * (time.process_time() - start) / len(places)


def write_stores(folder: Path, count: int) -> None:
    """Write the store, its table of frame keys and the peer's file."""
    ShardStore(folder / "frames", SCHEMA).append(rows(range(count)))
    keys = [{"sample_id": f"s{number}", "frame_key": f"key-{number:08d}"} for number in range(count)]
    write_table(folder / "frames.parquet", keys, FRAME_KEYS_SCHEMA)
    peer_rows = list(rows(range(min(count, PEER))))
    pq.write_table(pa.Table.from_pylist(peer_rows, schema=SCHEMA), folder / "peer.parquet")


def measure_reading(folder: Path, count: int) -> dict[str, float]:
    """CPU milliseconds per sample that is read at random.

    Asserts that store and peer give the same frames, and that a loader with two workers reads them too.
    """
    reader = FrameReader(folder / "frames", folder / "frames.parquet")
    peer = pq.ParquetFile(folder / "peer.parquet")

    def read_peer(place: int) -> Frames:
        return frames_from_row(cast(FrameRow, peer.read_row_group(0).slice(place, 1).to_pylist()[0]))

    places = np.random.default_rng(0).permutation(count)[:READS].tolist()
    few = [place % min(count, PEER) for place in places[:5]]
    assert all((reader.load(f"s{place}").frames_THWC == read_peer(place).frames_THWC).all() for place in few)
    loader = DataLoader(Loaded(reader), batch_size=8, num_workers=2)
    assert sum(int(batch.sum()) for batch in loader) == min(count, LOADED) * FRAMES * HEIGHT * WIDTH * 3
    return {
        "read_ms": round(cpu_ms(lambda place: reader.load(f"s{place}"), places), 2),
        "read_undecoded_ms": round(cpu_ms(lambda place: reader.pictures(f"s{place}"), places), 2),
        "peer_read_ms": round(cpu_ms(read_peer, few), 2),
    }


def measure_adding(folder: Path, count: int) -> dict[str, float]:
    """Size of the store, and shards that 1 % more samples change."""
    before = {path.name: sha256_file(path) for path in (folder / "frames").iterdir()}
    size = sum(path.stat().st_size for path in (folder / "frames").iterdir())
    ShardStore(folder / "frames", SCHEMA).append(rows(range(count, count + count // 100)))
    after = {path.name: sha256_file(path) for path in (folder / "frames").iterdir()}
    return {
        "kb_per_sample": round(size / count / 1000),
        "shards": len(before),
        "shards_added": len(after) - len(before),
        "shards_rewritten": sum(after[name] != digest for name, digest in before.items()),
    }


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("samples", nargs="?", type=int, default=2000)
    count: int = arguments.parse_args().samples
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_stores(folder, count)
        result = {"samples": count, **measure_reading(folder, count), **measure_adding(folder, count)}
    for measure, number in result.items():
        log.info("%-20s %s", measure, number)
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
