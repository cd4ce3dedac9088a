"""Reads a video file: which frames it shows, and how."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stages.video.container import open_video, packets
from stages.video.decoder import Decoder
from stages.video.file_end import missing_bytes
from stages.video.geometry import Geometry, geometry_of
from stages.video.keyframes import checks_references, keyframe_test
from stages.video.media import MediaError
from stages.video.packet_table import (
    PacketRow,
    PacketTable,
    counted_table,
    has_stamps,
    is_doubtful,
    packet_row,
    stamped_table,
)


@dataclass(frozen=True)
class Video:
    """A video that can be decoded."""

    path: Path
    table: PacketTable
    geometry: Geometry


def read_video(path: Path) -> Video:
    """Read the packet table of a video. Raises MediaError.

    It decodes the first frame; it decodes all frames only where the time stamps are missing or doubtful.
    """
    with open_video(path) as (container, stream):
        is_key = keyframe_test(stream.codec_context)
        decoder = Decoder(stream)
        first: list[VideoFrame] = []
        rows: list[PacketRow] = []
        for packet in packets(container, stream):
            rows.append(packet_row(packet, is_key(packet) if is_key else packet.is_keyframe))
            first = first or decoder(packet)
        first = first or decoder(None)
        if not first:
            raise MediaError("no frames", f"none of {len(rows)} packets can be decoded")
        listed = len(stream.index_entries) if "mp4" in container.format.name else 0
        _check_end(path, container.format.name, rows, listed)
        return Video(path, _table(path, rows, stream, knows_keys=is_key is not None), geometry_of(first[0], stream))


def _check_end(path: Path, container: str, rows: Sequence[PacketRow], listed: int) -> None:
    """Raises MediaError when the file ends earlier than it says.

    `listed` frames are in its index.
    """
    if len(rows) < listed:
        raise MediaError("truncated", f"{len(rows)} of {listed} frames are in the file")
    if missing := missing_bytes(path, container):
        raise MediaError("truncated", f"{missing} bytes are missing at the end of the file, after frame {len(rows)}")
    if rows[-1].is_corrupt and container != "mpegts":
        raise MediaError("truncated", f"the file ends inside its last frame, number {len(rows)}")


def _table(path: Path, rows: Sequence[PacketRow], stream: VideoStream, knows_keys: bool) -> PacketTable:
    """Frames by their packets' time stamps, or by the decoder's order.

    The decoder's order counts where time stamps are missing, shared, or not those of the frames that it shows.
    """
    table = None
    if has_stamps(rows):
        table = stamped_table(rows, stream, _first_pts(path, rows, stream), knows_keys)
        if not is_doubtful(rows, stream):
            return table
    shown = _decoded_stamps(path)
    return table if table and shown == table.pts_N.tolist() else counted_table(len(shown), stream)


def _decoded_stamps(path: Path) -> list[int | None]:
    """The time stamps of all frames, in the decoder's order."""
    with open_video(path) as (container, stream):
        decoder = Decoder(stream)
        return [frame.pts for packet in chain(packets(container, stream), [None]) for frame in decoder(packet)]


def _first_pts(path: Path, rows: Sequence[PacketRow], stream: VideoStream) -> int | None:
    """Time stamp of the first frame that can be decoded.

    None where all can. It is that of the first keyframe, or of a picture that is shown before it (a leading picture)
    and needs nothing from before it. A decoder that reports missing references tells which ones these are.
    """
    key = next((position for position, row in enumerate(rows) if row.is_key), None)
    if key is None:
        return None
    key_pts = rows[key].pts
    assert key_pts is not None  # the caller has checked the time stamps
    leading = sorted(row.pts for row in rows[key:] if row.is_shown and row.pts is not None and row.pts < key_pts)
    if not leading or not checks_references(stream.codec_context):
        return key_pts
    clean = _clean_leading(path, key, key_pts)
    first = key_pts
    for pts in reversed(leading):
        if pts not in clean:
            break
        first = pts
    return first


def _clean_leading(path: Path, key: int, key_pts: int) -> set[int]:
    """Time stamps of the undamaged frames that are shown before a keyframe.

    key: position of its packet. key_pts: its time stamp. None of them counts when there is damage.
    """
    clean: set[int] = set()
    with open_video(path) as (container, stream):
        decoder = Decoder(stream)
        for frame in _from_packet(key, packets(container, stream), decoder):
            if frame.pts is None or frame.pts >= key_pts:
                break
            if decoder.damaged:
                return set()
            clean.add(frame.pts)
    return clean


def _from_packet(key: int, packets: Iterable[Packet], decoder: Decoder) -> Iterator[VideoFrame]:
    for position, packet in enumerate(packets):
        if position >= key:
            yield from decoder(packet)
    yield from decoder(None)
