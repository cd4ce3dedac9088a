"""A store of answers: none is lost, none is paid for twice."""

import json
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from stages.data.archive import Archive
from stages.data.shards import Row, ShardStore

log = logging.getLogger(__name__)


class JournaledStore:
    """A `ShardStore` whose new rows first go to a JSON Lines journal.

    A row is on disk once `add` has returned. After a kill at any moment the journal is read again; a last line that
    was cut short is removed. `merge` moves the journal into shards in an order that the caller gives, so that a run
    that was killed and repeated leaves the same bytes as one that was not. Only the places of the rows are held in
    memory. One writer at a time; other threads can read meanwhile. With an archive, rows that the shards have lost are
    found there.
    """

    def __init__(
        self,
        directory: Path,
        journal: Path,
        schema: pa.Schema,
        rows_per_shard: int = 1024,
        archive: Archive | None = None,
    ) -> None:
        self._store = ShardStore(directory, schema, rows_per_shard)
        self._row_type = pa.struct(list(schema))
        self._archive = archive
        self._path = journal
        self._lock = threading.Lock()  # a read moves the place in the file
        journal.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(journal, "a+b")  # noqa: SIM115 - open as long as the store
        self._offsets = self._recover()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets or key in self._store or self._is_archived(key)

    def __enter__(self) -> "JournaledStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows to the journal; they are on disk when this returns.

        ValueError, before any of them is written, for a row that does not fit the schema.
        """
        keys = [self._checked(dict(row)) for row in rows]
        lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
        with self._lock:
            offset = os.fstat(self._file.fileno()).st_size
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
            for key, line in zip(keys, lines, strict=True):
                self._offsets[key] = offset
                offset += len(line)

    def read(self, key: str) -> Row:
        """The row of `key`; KeyError without one."""
        if key not in self._offsets:
            return self._archive.read(key) if self._archive and key not in self._store else self._store.read(key)
        with self._lock:
            self._file.seek(self._offsets[key])
            return json.loads(self._file.readline())

    def journaled(self) -> Iterator[Row]:
        """The rows since the last merge, in the order of their arrival."""
        return (self.read(key) for key in list(self._offsets))

    def merge(self, order: Iterable[str]) -> None:
        """Move the journal into the shards, and fill the archive.

        The keys of `order` come first, also those that only the archive has. Then come the others, sorted: an earlier
        run with other parameters left them.
        """
        ordered = [key for key in order if key in self and key not in self._store]
        keys = dict.fromkeys([*ordered, *sorted(self._offsets)])
        self._store.append(self.read(key) for key in keys)
        if self._archive:
            self._archive.add(self._store.read(key) for key in self._store if not self._is_archived(key))
        self._file.truncate(0)
        self._offsets.clear()

    def _is_archived(self, key: str) -> bool:
        return self._archive is not None and key in self._archive

    def _recover(self) -> dict[str, int]:
        """Offsets by key of the journal's rows that the store lacks.

        A last line without its end is cut off. A line that is no row of the store is named in the log and passed over:
        its question will be asked again.
        """
        offsets: dict[str, int] = {}
        end = 0
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                offsets[self._checked(json.loads(line))] = end
            except (ValueError, RecursionError) as error:  # no JSON, not a row, or not the store's
                log.warning("%s: line %d is no answer and is passed over: %s", self._path, number, _one_line(error))
            end += len(line)
        self._file.truncate(end)
        return {key: offset for key, offset in offsets.items() if key not in self._store}

    def _checked(self, row: object) -> str:
        """The key of a row.

        ValueError when the row does not fit the store's schema.
        """
        if not isinstance(row, dict) or not isinstance(key := row.get("key"), str):
            raise ValueError("it is no JSON object with a key")
        try:
            pa.array([row], type=self._row_type)  # a tenth of the CPU time of a table, and the same errors
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise ValueError(f"a value does not fit its column: {_one_line(error)}") from None
        return key


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
