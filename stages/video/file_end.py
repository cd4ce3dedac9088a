"""How many bytes a media file lacks, by its own account.

A demuxer reads a file that was cut as if it were a shorter clip. Most containers say how long they are, or how long
their parts are. Transport and program streams, NUT, and recordings that were never finished do not.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SEGMENT = 0x18538067  # the element of Matroska that holds all others
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_HEADER_BYTES = 1 << 16


def missing_bytes(path: Path, container: str) -> int:
    """Bytes that the file lacks at its end.

    0 when it is whole, or does not say how long it is. `container` is FFmpeg's name of the demuxer.
    """
    end_of = ENDS.get(container)
    if end_of is None:
        return 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return max(0, end_of(file, size) - size)


def _hole(position: int, end: int, size: int) -> int:
    """The end of a file without the part from `position` to `end`.

    There are no contents in this part.
    """
    return size + end - position


def _matroska_end(file: BinaryIO, size: int) -> int:
    """End of the Segment (RFC 8794, RFC 9559).

    A live recording gives it no size; then it is the end of the last element in it.
    """
    position, end = 0, None
    while position < (size if end is None else min(size, end)):
        file.seek(position)
        identity = _ebml_number(file, keep_marker=True)
        length = _ebml_number(file)
        if identity is None:  # bytes that are no element
            return position if end is None else _hole(position, end, size)
        if length is None:
            return size + 1
        start = file.tell()
        unknown = length == (1 << 7 * (start - position - _width(identity))) - 1
        if identity == SEGMENT and not unknown:
            end = start + length
        position = start if unknown or identity == SEGMENT else start + length
    return position if end is None else end


def _ebml_number(file: BinaryIO, keep_marker: bool = False) -> int | None:
    """The next number, whose first bits say how many bytes it has.

    None at the end of the file, or for bytes that are no such number.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    if len(rest) < width - 1:
        return None
    number = int.from_bytes(first + rest, "big")
    return number if keep_marker else number & (1 << 7 * width) - 1


def _width(number: int) -> int:
    return (number.bit_length() + 7) // 8


def _avi_end(file: BinaryIO, size: int) -> int:
    """End of the last `movi` list: these hold the frames.

    A file over 1 GB has several (OpenDML AVI File Format Extensions).
    """
    position, end = 0, 0
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        name, length, kind = header[:4], int.from_bytes(header[4:8], "little"), header[8:12]
        if name == b"LIST" and kind == b"movi":
            if length in (0, 0xFFFFFFFF):  # a recording that was never finished
                return size
            end = position + 8 + length
        if position < end and name == bytes(4):
            return _hole(position, end, size)
        is_list = name == b"RIFF" or (name == b"LIST" and kind in (b"movi", b"rec "))
        position += 12 if is_list else 8 + length + length % 2
    return end


def _asf_end(file: BinaryIO, size: int) -> int:
    """The file size in the File Properties Object (ASF Specification 3.2).

    It is 0 in a live recording.
    """
    header = file.read(ASF_HEADER_BYTES)
    place = header.find(ASF_FILE_PROPERTIES)
    return int.from_bytes(header[place + 40 : place + 48], "little") if place >= 0 else 0


def _ogg_end(file: BinaryIO, size: int) -> int:
    """End of the last page (RFC 3533, 6)."""
    position, is_last = 0, False
    while position < size:
        file.seek(position)
        header = file.read(27)
        if header[:4] != b"OggS"[: len(header)]:  # something else follows
            return position if is_last else _hole(position, size, size)
        table = file.read(header[26]) if len(header) == 27 else b""
        if len(header) < 27 or len(table) < header[26]:
            return size + 1
        is_last = bool(header[5] & 4)
        position += 27 + len(table) + sum(table)
    return position


def _gif_end(file: BinaryIO, size: int) -> int:
    """End of the last block (GIF89a Specification, Appendix B).

    The trailer may be missing.
    """
    file.seek(10)
    position = 13 + _colours(file.read(1))
    while position < size:
        file.seek(position)
        match file.read(1):
            case b"\x21":  # an extension: its label, then sub-blocks
                position = _sub_blocks_end(file, position + 2, size)
            case b"\x2c":  # an image: its place and size, colours, the code size, then sub-blocks
                file.seek(position + 9)
                position = _sub_blocks_end(file, position + 11 + _colours(file.read(1)), size)
            case b"\0" if not file.read().strip(b"\0"):
                return _hole(position, size, size)
            case _:  # the trailer, or something that a decoder does not read either
                break
    return position


def _colours(flags: bytes) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _sub_blocks_end(file: BinaryIO, position: int, size: int) -> int:
    while position < size:
        file.seek(position)
        length = file.read(1)[0]
        position += 1 + length
        if not length:
            return position
    return max(position, size + 1)


ENDS: dict[str, Callable[[BinaryIO, int], int]] = {
    "matroska,webm": _matroska_end,
    "avi": _avi_end,
    "asf": _asf_end,
    "ogg": _ogg_end,
    "gif": _gif_end,
}
