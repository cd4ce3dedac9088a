"""Answers that cost money: a shard store with a journal in front, so that what was answered is never asked again."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.data.shards import ShardStore


class JournaledStore:
    """A `ShardStore` whose new rows first go, in the order they arrive, to a JSON Lines journal.

    A row counts once `add` has returned: it is on disk. After a kill at any moment the journal is read back, without
    its last line when that was cut short. `merge` moves the journal into shards in an order the caller gives, so a run
    that was killed and run again leaves the same bytes as one that was not. Rows are small (answers); only their
    places are held in memory. One writer at a time.
    """

    def __init__(self, directory: Path, journal: Path, schema: pa.Schema, rows_per_shard: int = 1024) -> None:
        self._store = ShardStore(directory, schema, rows_per_shard)
        self._path = journal
        journal.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(journal, "a+b")  # noqa: SIM115 - open for as long as the store is
        self._offsets = self._recover()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets or key in self._store

    def __enter__(self) -> "JournaledStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to the journal with one fsync; they are safe when this returns."""
        lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
        offset = os.fstat(self._file.fileno()).st_size
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        for row, line in zip(rows, lines, strict=True):
            self._offsets[row["key"]] = offset
            offset += len(line)

    def read(self, key: str) -> dict[str, Any]:
        """The row of `key`; KeyError when nothing was answered under it."""
        if key not in self._offsets:
            return self._store.read(key)
        self._file.seek(self._offsets[key])
        return json.loads(self._file.readline())

    def journaled(self) -> Iterator[dict[str, Any]]:
        """What was answered since the last merge, in the order it came."""
        return (self.read(key) for key in list(self._offsets))

    def merge(self, order: Iterable[str]) -> None:
        """Move the journal into the shards: the keys of `order` first, then what an earlier run with other parameters left, by key."""
        keys = dict.fromkeys([*(key for key in order if key in self._offsets), *sorted(self._offsets)])
        self._store.append(self.read(key) for key in keys)
        self._file.truncate(0)
        self._offsets.clear()

    def _recover(self) -> dict[str, int]:
        """Offsets of the whole lines of the journal that the store lacks; a torn last line is cut off."""
        offsets: dict[str, int] = {}
        end = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            offsets[json.loads(line)["key"]] = end
            end += len(line)
        self._file.truncate(end)
        return {key: offset for key, offset in offsets.items() if key not in self._store}
