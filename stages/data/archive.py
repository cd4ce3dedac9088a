"""The archive of answers.

A copy outside DVC's reach, which several checkouts can share.

`dvc checkout` of another branch and `dvc gc` take answers out of a stage's outputs; the archive keeps them.
"""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from stages.data.shards import Row, ShardStore

ROWS_PER_SHARD = 1024


class Archive:
    """Rows by key in a folder that is only ever added to.

    Any number of processes may use it.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._store = self._open()

    def __contains__(self, key: str) -> bool:
        return key in self._store

    def read(self, key: str) -> Row:
        """The row of `key`; KeyError without one."""
        return self._store.read(key)

    def add(self, rows: Iterable[Row]) -> None:
        """Add the rows whose key is new.

        Another process may have added some meanwhile.
        """
        with self._locked():
            self._store = self._open()
            self._store.append(row for row in rows if row["key"] not in self._store)

    def _open(self) -> ShardStore:
        return ShardStore(self._folder, self._schema, ROWS_PER_SHARD)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
