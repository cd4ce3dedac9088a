"""The files of a source folder, none of which is opened."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from flows.errors import UsageError


def source_files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Path and state of each file below a folder, in order.

    A file that is gone since it was listed and a link that leads to itself are left out. UsageError for a named pipe, a
    socket or a device: DVC would open it to hash it, and wait for ever.
    """
    if folder.exists() and not (folder.is_dir() or folder.is_file()):
        raise UsageError(f"{folder} is a named pipe, a socket or a device; name a folder")
    for place, folders, files in os.walk(folder):
        folders.sort()
        for path in sorted(os.path.join(place, name) for name in files):
            try:
                found = os.stat(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):
                    raise
                continue
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{path} is a named pipe, a socket or a device; remove it from the source folder")
            yield path, found


def refuse_special_files(folder: Path) -> None:
    """UsageError when a folder holds something that cannot be hashed."""
    for _ in source_files(folder):
        pass
