"""Reads objects of a server through fsspec: versions, bytes, lists.

The credentials are those of the environment. The words of a library or server never reach a message: they may repeat a
key.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import IO, TYPE_CHECKING, Any, Literal, cast

from stages.run.addresses import Address, Protocol
from stages.run.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Reason = Literal[
    "missing",  # the server has no such object
    "inaccessible",  # the server refuses it
    "unreachable",  # the server does not answer, fails, or is cut off
    "changed",  # it is not the object that was asked for
]

PART = 8 << 20  # bytes of one request
ATTEMPTS = 3  # at each request
EXTRAS: dict[Protocol, str] = {"s3": "s3", "gs": "gcs"}  # of pyproject.toml
ANSWER_S = 15  # seconds in which a server sends its next bytes
REASONS: dict[int, Reason] = {401: "inaccessible", 403: "inaccessible", 404: "missing", 410: "missing"}  # by status
PART_S = 120  # seconds of one request
# Errors that are no OSError, by the module that defines them. A module that is not loaded has raised none.
LIBRARY_ERRORS = {
    "aiohttp": ("ClientError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError", "ChecksumError", "NonRetryableError"),
    "google.auth.exceptions": ("GoogleAuthError",),
    "httpx2": ("HTTPError",),
}
NO_CREDENTIALS = {
    "botocore.exceptions": ("NoCredentialsError", "PartialCredentialsError"),
    "google.auth.exceptions": ("DefaultCredentialsError",),
}


class ObjectError(Exception):
    """An object that cannot be read.

    reason: a fixed word, to count by. detail: more about it, for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Version:
    """The state of an object: its ETag and its size in bytes."""

    etag: str
    size: int


def version_of(address: Address) -> Version:
    """The object's present version. Raises ObjectError; UserError without the package."""
    with _refusals():
        return _version(_filesystem(address.protocol).info(address.path))


def download(address: Address, version: Version, file: IO[bytes]) -> None:
    """Write the object's bytes to the file.

    Raises ObjectError, also when the object is no longer of that version.
    """
    with _refusals():
        filesystem = _filesystem(address.protocol)
        for start in range(0, version.size, PART):
            file.write(_part(filesystem, address, start, min(start + PART, version.size)))
    if version_of(address) != version:
        raise ObjectError("changed", "the object changed while it was read")


def list_objects(address: Address) -> dict[Address, Version]:
    """All objects below an address.

    Raises ObjectError; a key that is no plain path is `inaccessible`.
    """
    with _refusals():
        listed = cast(dict[str, dict[str, Any]], _filesystem(address.protocol).find(address.path, detail=True))
        found: dict[Address, Version] = {}
        for name, info in sorted(listed.items()):
            if info["type"] != "file" or name.endswith("/"):
                continue
            try:
                found[address / name.removeprefix(f"{address.path}/")] = _version(info)
            except ValueError as error:
                raise ObjectError("inaccessible", f"below {address} is a key that is no plain path: {error}") from None
    if not found:
        raise ObjectError("missing", f"no objects below {address}")
    return found


def _part(filesystem: "AbstractFileSystem", address: Address, start: int, end: int) -> bytes:
    """Bytes of an object.

    A connection that is cut or too slow is tried again.
    """
    for _ in range(ATTEMPTS):
        try:
            data = _bytes(filesystem, address.path, start, end)
        except _errors() as error:
            if isinstance(error, FileNotFoundError | PermissionError) or _status(error):
                raise
            continue
        if len(data) == end - start:
            return data
    raise ObjectError("unreachable", f"the server sent no whole answer in {ATTEMPTS} attempts, after byte {start}")


def _bytes(filesystem: "AbstractFileSystem", path: str, start: int, end: int) -> bytes:
    from fsspec.asyn import AsyncFileSystem, sync

    if isinstance(filesystem, AsyncFileSystem):
        sent = sync(filesystem.loop, filesystem._cat_file, path, start=start, end=end, timeout=PART_S)
    else:
        sent = filesystem.cat_file(path, start=start, end=end)
    return cast(bytes, sent)


def _version(info: dict[str, Any]) -> Version:
    if info["type"] != "file":
        raise ObjectError("missing", "no such object, but a folder of others; media on a server are single objects")
    etag = next((str(info[name]) for name in ("ETag", "etag", "blob_id") if info.get(name)), "")
    return Version(etag.strip('"'), int(info["size"]))


@lru_cache
def _filesystem(protocol: Protocol) -> "AbstractFileSystem":
    """The file system of a protocol, which remembers no listing.

    Only these three are ever made, and no address is given to fsspec, which would follow chains of protocols.
    """
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol == "s3":
        attempts = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        options["config_kwargs"] = {"connect_timeout": ANSWER_S, "read_timeout": ANSWER_S, "retries": attempts}
    try:
        filesystem = _google_storage(options) if protocol == "gs" else fsspec.filesystem(protocol, **options)
    except ImportError:
        raise UserError(f"{protocol}:// addresses need another package: pip install '.[{EXTRAS[protocol]}]'") from None
    if protocol == "s3":
        filesystem.retries = 1  # botocore repeats failed requests, `_part` those that were cut off
    return filesystem


def _google_storage(options: dict[str, Any]) -> Any:
    """The file system of gs://, over HTTP alone.

    The one that gcsfs registers asks another service for the kind of each bucket. Both log a server's words.
    """
    from gcsfs.core import GCSFileSystem

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    return GCSFileSystem(**options)


@contextmanager
def _refusals() -> Iterator[None]:
    """Whatever a library raises about a server, as an ObjectError."""
    try:
        yield
    except FileNotFoundError:
        raise ObjectError("missing", "the server has no such object") from None
    except PermissionError:
        raise ObjectError("inaccessible", "the server denies the permission; check the credentials") from None
    except _named(NO_CREDENTIALS):
        raise ObjectError("inaccessible", "the environment has no credentials for the server") from None
    except _errors() as error:
        status = _status(error)
        said = f"the server answered with status {status}" if status else f"no answer ({type(error).__name__})"
        reason: Reason = REASONS.get(status, "unreachable") if status else "unreachable"
        raise ObjectError(reason, said) from None


def _errors() -> tuple[type[Exception], ...]:
    return OSError, HTTPException, *_named(LIBRARY_ERRORS)


def _named(classes: dict[str, tuple[str, ...]]) -> tuple[type[Exception], ...]:
    loaded = [(sys.modules[module], names) for module, names in classes.items() if module in sys.modules]
    return tuple(getattr(module, name) for module, names in loaded for name in names)


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of any of the libraries."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):  # botocore
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(status := getattr(response, "status_code", None), int):  # the hub
            return status
        if isinstance(cause, _named({"gcsfs.retry": ("HttpError",)})):
            return int(getattr(cause, "code", None) or 0) or None
        cause = cause.__cause__ or cause.__context__
    return None
