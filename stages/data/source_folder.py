"""The folder that sources live in, watched while it is read."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.run.errors import UserError


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """UserError if a file of the folder changes meanwhile.

    The names, sizes and times of the files count. DVC records a source as it is when the stage ends: a file that came
    too late to be read would count as read. UserError also for a named pipe, a socket or a device: whoever reads it
    waits for ever.
    """
    before = _listing(folder)
    yield
    if _listing(folder) != before:
        raise UserError(f"{folder} changed while it was read; run again when all files are in place")


def _listing(folder: Path) -> str:
    """A hash of the names, sizes and times of all files."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for path in sorted(os.path.join(place, name) for name in files):
            try:
                found = os.stat(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):  # gone since it was listed, or a link to itself
                    raise
                continue
            if not stat.S_ISREG(found.st_mode):
                raise UserError(f"{path} is a named pipe, a socket or a device; remove it from the source folder")
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
