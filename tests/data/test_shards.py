"""The append-only store: rows by key, old shards untouched."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.data.shards import ShardStore

SCHEMA = pa.schema([("key", pa.string()), ("frames", pa.list_(pa.binary()))])


def rows(*numbers: int) -> list[dict[str, object]]:
    return [{"key": f"k{n}", "frames": [bytes([n]) * 3, b"x"]} for n in numbers]


def test_rows_are_read_back_by_key_also_by_another_reader(tmp_path: Path) -> None:
    ShardStore(tmp_path, SCHEMA, rows_per_shard=2).append(rows(1, 2, 3))
    store = ShardStore(tmp_path, SCHEMA)
    assert store.read("k3") == {"key": "k3", "frames": [b"\x03\x03\x03", b"x"]}
    assert "k1" in store
    assert "k9" not in store
    assert len(store) == 3
    with pytest.raises(KeyError):
        store.read("k9")


def test_appending_leaves_old_shards_byte_identical(tmp_path: Path) -> None:
    ShardStore(tmp_path, SCHEMA, rows_per_shard=2).append(rows(1, 2, 3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ShardStore(tmp_path, SCHEMA, rows_per_shard=2).append(rows(4, 5, 6))
    after = {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    assert list(after) == ["00000.parquet", "00001.parquet", "00002.parquet", "00003.parquet"]
    assert {name: after[name] for name in before} == before


def test_full_shards_are_on_disk_before_the_next_row_is_asked_for(tmp_path: Path) -> None:
    def interrupted() -> Iterator[dict[str, object]]:
        yield from rows(1, 2, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ShardStore(tmp_path, SCHEMA, rows_per_shard=2).append(interrupted())
    assert len(ShardStore(tmp_path, SCHEMA)) == 2


def test_a_shard_of_large_rows_has_fewer_of_them_and_one_is_in_memory(tmp_path: Path) -> None:
    memory: list[int] = []

    def large() -> Iterator[dict[str, object]]:
        for number in range(30):
            memory.append(psutil.Process().memory_info().rss)
            yield {"key": f"k{number}", "frames": [bytes(4 << 20)]}

    ShardStore(tmp_path, SCHEMA, shard_bytes=60 << 20).append(large())
    assert [pq.read_metadata(shard).num_rows for shard in sorted(tmp_path.iterdir())] == [15, 15]
    assert max(memory) - memory[0] < 40 << 20


def test_a_key_is_stored_once(tmp_path: Path) -> None:
    store = ShardStore(tmp_path, SCHEMA)
    store.append(rows(1))
    with pytest.raises(ValueError, match="k1 is in the store already"):
        store.append(rows(1))
