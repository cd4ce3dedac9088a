"""A video file as its packets describe it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stages.video.container import open_video, packets
from stages.video.decoder import Decoder
from stages.video.geometry import Geometry, geometry_of
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
        decoder = Decoder(stream)
        first: list[VideoFrame] = []
        rows: list[PacketRow] = []
        for packet in packets(container, stream):
            rows.append(packet_row(packet))
            first = first or decoder(packet)
        first = first or decoder(None)
        if not first:
            raise MediaError("no frames", f"none of {len(rows)} packets can be decoded")
        listed = len(stream.index_entries) if "mp4" in container.format.name else 0
        if len(rows) < listed:
            raise MediaError("truncated", f"{len(rows)} of {listed} frames are in the file")
        return Video(path, _table(path, rows, stream), geometry_of(first[0], stream))


def _table(path: Path, rows: Sequence[PacketRow], stream: VideoStream) -> PacketTable:
    """Frames by their packets' time stamps, or by the decoder's order.

    The decoder's order counts where time stamps are missing, shared, or not those of the frames that it shows.
    """
    table = stamped_table(rows, stream) if has_stamps(rows) else None
    if table and not is_doubtful(rows, stream):
        return table
    shown = _decoded_stamps(path)
    return table if table and shown == table.pts_N.tolist() else counted_table(len(shown), stream)


def _decoded_stamps(path: Path) -> list[int | None]:
    """The time stamps of all frames, in the decoder's order."""
    with open_video(path) as (container, stream):
        decoder = Decoder(stream)
        return [frame.pts for packet in chain(packets(container, stream), [None]) for frame in decoder(packet)]
