"""Changes a container's marks of keyframes, and leaves the packets alone."""

from collections.abc import Callable, Iterator

Mark = Callable[[int], bool]  # the number of a frame → whether it is to be marked


def without_index(data: bytes) -> bytes:
    """An mp4, mov or AVI file without its list of keyframes."""
    for name, other in ((b"stss", b"free"), (b"idx1", b"JUNK"), (b"indx", b"JUNK"), (b"ix00", b"JUNK")):
        data = data.replace(name, other)
    return data


def marked(data: bytes, mark: Mark) -> bytes:
    """The file with other marks.

    It is mp4, mov, AVI, Matroska, WebM or FLV, as ffmpeg writes them.
    """
    if data[:4] == b"RIFF":
        return _marked_avi(data, mark)
    if data[:3] == b"FLV":
        return _marked_flv(data, mark)
    return _marked_mp4(data, mark) if data[4:8] == b"ftyp" else _marked_matroska(data, mark)


def _marked_mp4(data: bytes, mark: Mark) -> bytes:
    """With other frames in the sync sample box, which keeps its length.

    Without the box all frames are marked.
    """
    place = data.find(b"stss")
    if place < 0:
        return data
    count = int.from_bytes(data[place + 8 : place + 12], "big")
    numbers = [number for number in range(10_000) if mark(number)][:count]
    entries = b"".join((number + 1).to_bytes(4, "big") for number in numbers)
    return data[: place + 12] + entries + data[place + 12 + len(entries) :]


def _marked_avi(data: bytes, mark: Mark) -> bytes:
    """With other flags in idx1, the only index left."""
    changed = bytearray(data.replace(b"indx", b"JUNK").replace(b"ix00", b"JUNK"))
    place = changed.rindex(b"idx1")
    for number in range(int.from_bytes(changed[place + 4 : place + 8], "little") // 16):
        changed[place + 12 + 16 * number] = 0x10 if mark(number) else 0
    return bytes(changed)


def _marked_flv(data: bytes, mark: Mark) -> bytes:
    """With other frame types in the video's tags.

    A tag has 11 bytes before its data and 4 behind.
    """
    changed = bytearray(data)
    place, number = 13, 0
    while place < len(data):
        if data[place] == 9:
            changed[place + 11] = (0x10 if mark(number) else 0x20) | data[place + 11] & 0x0F
            number += 1
        place += 15 + int.from_bytes(data[place + 1 : place + 4], "big")
    return bytes(changed)


def _marked_matroska(data: bytes, mark: Mark) -> bytes:
    """With other flags in the simple blocks of the only track.

    A block begins with the track's number, two bytes of time, and flags.
    """
    changed = bytearray(data)
    for number, place in enumerate(_simple_blocks(data)):
        changed[place + 3] = data[place + 3] & 0x7F | (0x80 if mark(number) else 0)
    return bytes(changed)


def _simple_blocks(data: bytes) -> Iterator[int]:
    place = 0
    while place < len(data):
        identity, place = _number(data, place, keep_marker=True)
        length, place = _number(data, place)
        if identity == 0xA3:
            yield place
        if identity not in (0x18538067, 0x1F43B675):  # a segment and its clusters are entered
            place += length


def _number(data: bytes, place: int, keep_marker: bool = False) -> tuple[int, int]:
    width = 9 - data[place].bit_length()
    number = int.from_bytes(data[place : place + width], "big")
    return number if keep_marker else number & (1 << 7 * width) - 1, place + width
