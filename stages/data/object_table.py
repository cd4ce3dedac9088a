"""The table of objects that ingest has read: versions and hashes."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from stages.run.files import iterate_rows, write_table
from stages.run.schemas import schema_of

log = logging.getLogger(__name__)


class ObjectRow(TypedDict):
    """One object as the server named and sent it.

    It has the address, the ETag and the bytes that the server named, and the SHA-256 of what it sent.
    """

    address: str
    etag: str
    size: int
    sha256: str


OBJECT_SCHEMA = schema_of(ObjectRow)


def record_objects(table: Path, rows: Sequence[ObjectRow]) -> None:
    """Write the table, and log how many objects have changed.

    A change is one since the table was last written. Without rows there is no table.
    """
    known = {row["address"]: row["sha256"] for row in iterate_rows(table)} if table.exists() else {}
    changed = [row["address"] for row in rows if known.get(row["address"], row["sha256"]) != row["sha256"]]
    if changed:
        log.info("%d objects have changed since the last ingest, first %s", len(changed), changed[0])
    table.unlink(missing_ok=True)
    if rows:
        write_table(table, rows, OBJECT_SCHEMA)
