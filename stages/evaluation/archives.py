"""Archives of a benchmark, unpacked file by file inside their folder."""

import filecmp
import logging
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from stages.run.errors import UserError
from stages.run.files import write_atomic

log = logging.getLogger(__name__)

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_FILES = 2_000_000
LARGEST_FILE = 1 << 44  # bytes
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


@dataclass(frozen=True)
class Member:
    """A file of an archive; `size` is its bytes when unpacked."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path) -> None:
    """Unpack a zip or tar archive into its own folder, once.

    Members that are links, devices or outside the folder are refused, and so is a file that is already there with
    other bytes. UserError names the archive and the reason.
    """
    done = archive.with_name(f".{archive.name}.unpacked")
    if done.exists():
        return
    log.info("unpacking %s", archive)
    parts = archive.with_name(f".{archive.name}.parts")
    shutil.rmtree(parts, ignore_errors=True)
    try:
        with ExitStack() as stack:
            members = list(_members(archive, stack))
            _check_room(archive, sum(member.size for member in members))
            for member in members:
                _write(member, parts)
        _move(parts, archive.parent, keep_out={archive.name, done.name})
    except DAMAGED as error:
        raise _refusal(archive, f"{error}; delete it and run the same command again") from None
    except (RuntimeError, NotImplementedError) as error:  # of zipfile: encrypted, or an unknown method
        raise _refusal(archive, str(error)) from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refusal(archive, f"{error.filename} is a file in one place and a folder in another") from None
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    write_atomic(done, "")


def _members(archive: Path, stack: ExitStack) -> Iterator[Member]:
    """The files of an archive.

    UserError for too many members, and for a member that is neither a file nor a folder.
    """
    found = _zip_members(archive, stack) if archive.suffix == ".zip" else _tar_members(archive, stack)
    for number, member in enumerate(found, start=1):
        if number > MOST_FILES or member.size > LARGEST_FILE:
            raise _refusal(archive, f"it holds more than {MOST_FILES:,} files, or one of more than 16 TiB")
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name or not path.parts:
            raise _refusal(archive, f"its member {member.name!r} lies outside its folder")
        yield member


def _zip_members(archive: Path, stack: ExitStack) -> Iterator[Member]:
    source = stack.enter_context(zipfile.ZipFile(archive))
    for info in source.infolist():
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _refusal(archive, f"its member {info.filename!r} is a link")
        if not info.is_dir():
            yield Member(info.filename, info.file_size, lambda info=info: source.open(info))


def _tar_members(archive: Path, stack: ExitStack) -> Iterator[Member]:
    source = stack.enter_context(tarfile.open(archive))  # noqa: SIM115 - the stack closes it
    for info in source:
        if not info.isfile() and not info.isdir():
            raise _refusal(archive, f"its member {info.name!r} is a link or a device")
        if info.isfile():
            yield Member(info.name, info.size, lambda info=info: source.extractfile(info))


def _write(member: Member, folder: Path) -> None:
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise tarfile.TarError(f"{member.name!r} has no content")
    with source, open(path, "xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _move(parts: Path, folder: Path, keep_out: set[str]) -> None:
    """Move the unpacked files to their places.

    A run that was killed meanwhile has moved some already.
    """
    for file in sorted(path for path in parts.rglob("*") if path.is_file()):
        place = folder / file.relative_to(parts)
        if place.parent == folder and place.name in keep_out:
            raise RuntimeError(f"its member {place.name!r} would replace the archive or its mark")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            file.replace(place)
        elif not place.is_file() or not filecmp.cmp(file, place, shallow=False):
            raise RuntimeError(f"its member {str(place.relative_to(folder))!r} is already there with other bytes")


def _check_room(archive: Path, size: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if size > free:
        raise UserError(
            f"{archive}: unpacks to {size >> 20} MiB, but only {free >> 20} MiB are free; make room on the disk"
        )


def _refusal(archive: Path, reason: str) -> UserError:
    return UserError(f"{archive}: cannot be unpacked: {reason}")
