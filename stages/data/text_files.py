"""Opens text files, and names what is no text."""

import codecs
import os
import stat
from pathlib import Path
from typing import TextIO

from stages.run.downloads import HEAD, placeholder
from stages.run.errors import UserError

SAMPLE = 1 << 16  # bytes from which an encoding is guessed

_MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FILES = (
    (b"<?xml", "XML; write the records as JSON Lines or CSV"),
    (b"par1", "a Parquet file; put it into a folder and name the folder as `hub`"),
    (b"pk\x03\x04", "a zip archive or an Excel table; unpack it, or save the table as CSV"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
)
_NAMES = {"gb18030": "GBK", "cp932": "Shift-JIS", "cp949": "EUC-KR", "big5": "Big5", "cp1252": "Windows-1252"}


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """The file as text, in the encoding that it shows.

    That is UTF-8, or UTF-16 or UTF-32 by the byte order mark or by zero bytes. `newline` is that of `open`. UserError
    for an empty file and for one that holds no text; a file in another encoding raises UnicodeError while it is read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        what = "is a directory" if path.is_dir() else "is no regular file"
        raise UserError(f"{path}: {what}; name a file of records")
    with open(path, "rb") as file:
        head = file.read(HEAD)
    encoding = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None) or _by_zero_bytes(head)
    if not head.decode(encoding, errors="ignore").strip("\ufeff \t\r\n") and os.path.getsize(path) <= HEAD:
        raise UserError(f"{path}: the file is empty; fill it or leave its source out")
    start = head.lstrip().lower()
    others = (what for beginning, what in _OTHER_FILES if start.startswith(beginning))
    if what := placeholder(head) or next(others, None):
        raise UserError(f"{path}: the file is {what}")
    if encoding == "utf-8-sig" and b"\0" in head:
        at = head.index(b"\0") + 1
        raise UserError(f"{path}: the file holds no text (byte {at} is zero); write the records as JSON Lines or CSV")
    return open(path, encoding=encoding, newline=newline)


def encoding_advice(path: Path) -> str:
    """The probable encoding of a file, and how to convert it."""
    from charset_normalizer import from_bytes  # imported here, because few files need it

    with open(path, "rb") as file:
        best = from_bytes(file.read(SAMPLE)).best()
    if best is None:
        return "not UTF-8; save the file as UTF-8"
    name = _NAMES.get(best.encoding, best.encoding)
    return f"not UTF-8 but probably {name}; convert it, for example with `iconv -f {name} -t UTF-8`"


def _by_zero_bytes(head: bytes) -> str:
    """UTF-16 without a mark: every second byte of ASCII text is zero."""
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if zeros.count(0) > len(head) // 5 and head.count(0) == zeros.count(0):
            return encoding
    return "utf-8-sig"
