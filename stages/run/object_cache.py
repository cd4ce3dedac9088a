"""A bounded cache of objects on this machine.

It is in `.work/objects`, or in the folder that OBJECT_CACHE names.

Files are named by the hash of their bytes. A file that is in use is locked; the longest unused ones make room for new
ones. Any number of processes may use one cache.
"""

import fcntl
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path

from stages.run.addresses import Address, Place
from stages.run.errors import UserError
from stages.run.objects import ObjectError, Version, download, version_of
from stages.run.work import WORK

GIGABYTES = 50.0  # that the cache may hold, unless OBJECT_CACHE_GB says it
TABLES = """
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, size INTEGER, used REAL);
CREATE TABLE IF NOT EXISTS objects (address TEXT PRIMARY KEY, etag TEXT, size INTEGER, name TEXT);
"""


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine.

    `version` is that of the object that it is a copy of, None for no copy.
    """

    path: Path
    version: Version | None = None


@contextmanager
def local_file(place: Place, sha256: str = "") -> Iterator[LocalFile]:
    """The file, or a copy of the object.

    A copy stays for as long as the block lasts. With `sha256`, the hex hash of its bytes, a copy with these bytes is
    taken without asking the server. Raises ObjectError.
    """
    if isinstance(place, Path):
        yield LocalFile(place)
        return
    with _Cache().copy(place, sha256) as local:
        yield local


def is_offline() -> bool:
    """Whether no server may be asked."""
    return os.environ.get("OFFLINE") == "1"


def limit_bytes() -> int:
    """The bytes that the cache may hold.

    UserError for a number that is none.
    """
    text = os.environ.get("OBJECT_CACHE_GB", str(GIGABYTES))
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise UserError(f"OBJECT_CACHE_GB is {text!r}; it is a number of gigabytes, such as 50") from None


class _Cache:
    def __init__(self) -> None:
        self._folder = Path(os.environ.get("OBJECT_CACHE") or WORK / "objects")
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._book() as book:
            for statement in TABLES.strip().splitlines():
                book.execute(statement)

    @contextmanager
    def copy(self, address: Address, sha256: str) -> Iterator[LocalFile]:
        name = f"{sha256}{address.suffix}"
        version: Version | None = None
        file = self._held(name) if sha256 else None
        if file is None:
            version = self._version(address)
            name, file = self._current(address, version) or self._fetch(address, version)
        with file:
            if sha256 and not name.startswith(sha256):
                raise ObjectError("changed", "the object is not the one that was ingested; run ingest again")
            yield LocalFile(self._folder / name, version)

    def _version(self, address: Address) -> Version:
        if not is_offline():
            return version_of(address)
        if known := self._known(address):
            return known[0]
        raise ObjectError("unreachable", "OFFLINE=1 is set, and the cache has no copy")

    def _known(self, address: Address) -> tuple[Version, str] | None:
        """The version that was last fetched, and the name of its file."""
        with self._book() as book:
            found = book.execute("SELECT etag, size, name FROM objects WHERE address = ?", [str(address)]).fetchone()
        return (Version(found[0], found[1]), found[2]) if found else None

    def _current(self, address: Address, version: Version) -> tuple[str, BufferedReader] | None:
        """Name and locked file of the copy of that version."""
        known = self._known(address)
        if known is None or known[0] != version or not (file := self._held(known[1])):
            return None
        return known[1], file

    def _held(self, name: str) -> BufferedReader | None:
        """A file of the cache, locked against removal.

        None where it is gone or damaged.
        """
        path = self._folder / name
        try:
            file = open(path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        if _is_at(file, path) and hashlib.file_digest(file, "sha256").hexdigest() == path.stem:
            with self._book() as book:
                book.execute("UPDATE files SET used = ? WHERE name = ?", [time.time(), name])
            return file
        file.close()
        path.unlink(missing_ok=True)
        return None

    def _fetch(self, address: Address, version: Version) -> tuple[str, BufferedReader]:
        """Name and locked file of a new copy."""
        if is_offline():
            raise ObjectError("unreachable", "OFFLINE=1 is set, and the cache has no copy")
        part = f"{hashlib.sha256(str(address).encode()).hexdigest()}.part"
        with self._locked(self._folder / part) as file:
            if copy := self._current(address, version):  # another process fetched it meanwhile
                (self._folder / part).unlink()
                return copy
            with ExitStack() as undo:
                undo.callback((self._folder / part).unlink)
                self._make_room(part, version.size)
                download(address, version, file)
                file.flush()
                undo.pop_all()
            file.seek(0)
            name = f"{hashlib.file_digest(file, 'sha256').hexdigest()}{address.suffix}"
            os.replace(self._folder / part, self._folder / name)
            self._enter(address, version, part, name)
        if held := self._held(name):
            return name, held
        raise ObjectError("inaccessible", "its copy was removed to make room for others; raise OBJECT_CACHE_GB")

    @contextmanager
    def _locked(self, path: Path) -> Iterator[BufferedRandom]:
        """An empty file that no other process writes.

        It waits for the one that does.
        """
        while True:
            with open(path, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _is_at(file, path):
                    file.truncate(0)
                    yield file
                    return

    def _make_room(self, name: str, size: int) -> None:
        """Enter a file, after removing the longest unused ones until it fits."""
        limit = limit_bytes()
        with self._book() as book:
            book.execute("BEGIN IMMEDIATE")
            book.execute("DELETE FROM files WHERE name = ?", [name])
            [(used,)] = book.execute("SELECT coalesce(sum(size), 0) FROM files")
            for other, other_size in book.execute("SELECT name, size FROM files ORDER BY used").fetchall():
                if used + size <= limit:
                    break
                if self._removed(other):
                    book.execute("DELETE FROM files WHERE name = ?", [other])
                    used -= other_size
            book.execute("INSERT INTO files VALUES (?, ?, ?)", [name, size, time.time()])
            book.execute("COMMIT" if used + size <= limit else "ROLLBACK")
        if used + size > limit:
            raise ObjectError(
                "inaccessible",
                f"its {size / 1e9:.3g} GB do not fit into a cache of {limit / 1e9:.3g} GB; raise OBJECT_CACHE_GB",
            )

    def _removed(self, name: str) -> bool:
        """Whether the file is gone now; False where it is in use."""
        path = self._folder / name
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except BlockingIOError:
            return False
        except FileNotFoundError:
            pass
        return True

    def _enter(self, address: Address, version: Version, part: str, name: str) -> None:
        with self._book() as book:
            book.execute("BEGIN IMMEDIATE")
            book.execute("DELETE FROM files WHERE name = ?", [part])
            book.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", [name, version.size, time.time()])
            row = [str(address), version.etag, version.size, name]
            book.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)
            book.execute("COMMIT")

    @contextmanager
    def _book(self) -> Iterator[sqlite3.Connection]:
        """What the cache holds.

        The files are the truth: a row without its file does no harm.
        """
        with closing(sqlite3.connect(self._folder / "book.sqlite", timeout=60, isolation_level=None)) as book:
            yield book


def _is_at(file: BufferedReader | BufferedRandom, path: Path) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
