"""Addresses of objects on a server, such as `s3://bucket/videos/a.mp4`."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Self, get_args

Protocol = Literal["s3", "gs", "hf"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

MAX_LENGTH = 1200  # characters; a key of S3 has up to 1024 bytes
MARK = "://"  # of an address
_CONTAINER = {  # what stands before the key
    "s3": re.compile(r"[\w.-]{3,63}", re.ASCII),
    "gs": re.compile(r"[\w.-]{3,222}", re.ASCII),
    "hf": re.compile(r"datasets/[\w.-]+/[\w.-]+(@[\w.-]+)?", re.ASCII),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Address:
    """An object, or all objects whose key begins with `key/`.

    container: the bucket, or `datasets/owner/name[@revision]` on the Hugging Face hub. key: "" for the whole container.
    """

    protocol: Protocol
    container: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        ValueError for another protocol, for a chain of protocols, and for a key that is no plain path. The error does
        not repeat the text, which may hold a password.
        """
        name, _, path = text.partition(MARK)
        protocol: Protocol | None = next((each for each in PROTOCOLS if each == name), None)
        if protocol is None:
            raise ValueError(f"an address begins with {', '.join(each + MARK for each in PROTOCOLS)} and nothing else")
        parts = 3 if protocol == "hf" else 1
        segments = path.rstrip("/").split("/")
        container, key = "/".join(segments[:parts]), "/".join(segments[parts:])
        if not _CONTAINER[protocol].fullmatch(container):
            wanted = "hf://datasets/owner/name[@revision]" if protocol == "hf" else f"{protocol}://bucket"
            raise ValueError(f"an address begins with {wanted}, without user, password or port")
        _check_key(key)
        return cls(protocol, container, key)

    @property
    def path(self) -> str:
        """The address without its protocol, as fsspec's file systems take it."""
        return f"{self.container}/{self.key}" if self.key else self.container

    @property
    def suffix(self) -> str:
        """The suffix of the object's name, in lower case.

        "" for one that is not plain.
        """
        suffix = PurePosixPath(self.key).suffix.lower()
        return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) < 10 else ""

    def __str__(self) -> str:
        return f"{self.protocol}{MARK}{self.path}"

    def __truediv__(self, path: str) -> "Address":
        """The object at a path below this address.

        ValueError for a path that leads elsewhere.
        """
        inner = "/".join(part for part in path.removeprefix(f"{self}/").split("/") if part != ".")
        if MARK in inner or not inner:
            raise ValueError("it is no path below the address")
        _check_key(inner)
        return Address(self.protocol, self.container, f"{self.key}/{inner}" if self.key else inner)


Place = Path | Address
"""Where a file is: on this machine, or on a server."""


def place_of(text: str, folder: Path = Path()) -> Place:
    """The text as an address, or as a path in the folder.

    ValueError for a bad address.
    """
    return Address.parse(text) if MARK in text else folder / text


def _check_key(key: str) -> None:
    if len(key) > MAX_LENGTH or _CONTROL.search(key):
        raise ValueError(f"a key has at most {MAX_LENGTH} characters, and no control characters")
    if key and not all(part.strip() and part not in (".", "..") for part in key.split("/")):
        raise ValueError("a key has no empty part, no `.` and no `..`")
