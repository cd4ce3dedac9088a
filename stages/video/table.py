"""The packet table of a video: which frames it shows, when, and what must be decoded to get one. Read without decoding the video."""

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.error import FileNotFoundError as NoSuchFileError
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stages.video.media import MAX_PIXELS, MediaError

log = logging.getLogger(__name__)

# Demuxers that read one file and nothing else: no playlists, no image sequences, no concat lists.
FORMATS = "asf,avi,flv,gif,ivf,matroska,mov,mpeg,mpegts,nut,ogg"

# Brands of pictures in an mp4 container.
HEIF = frozenset({"avif", "avis", "heic", "heim", "heis", "heix", "hevc", "hevx", "mif1", "mif2", "msf1"})

# Those that skip the right packet when told so packet by packet; libdav1d, for one, reads the setting once.
SKIPPING_DECODERS = ("h264", "hevc")


@dataclass(frozen=True)
class Geometry:
    """How a decoded picture is to be shown. `matrix` is the display matrix' (a, b, c, d), `aspect` the shape of a pixel."""

    height: int
    width: int
    matrix: tuple[int, int, int, int]
    aspect: Fraction

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width on a screen: square pixels, turned upright."""
        height, width = self.height, round(self.width * self.aspect)
        return (width, height) if self.transposed else (height, width)

    @property
    def transposed(self) -> bool:
        a, b, _, _ = self.matrix
        return abs(b) > abs(a)

    def upright(self, picture_HWC: np.ndarray) -> np.ndarray:
        """The picture turned and mirrored as its display matrix says; x' = a x + c y, y' = b x + d y up to a shift."""
        a, b, c, d = self.matrix
        if self.transposed:
            picture_HWC, a, d = picture_HWC.transpose(1, 0, 2), c, b
        return picture_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


@dataclass(frozen=True)
class PacketTable:
    """The frames a video shows, in presentation order.

    pts_N: their time stamps in ticks of time_base; seconds_N: seconds from the first one. packets_N: position of each frame's packet
    in the file. keys_K and key_pts_K: position and time stamp of every keyframe packet. `counted` means that the file has no usable
    time stamps (H.264 with B-frames in AVI, recordings joined byte by byte): the frames were counted by decoding them all, pts_N is
    their number and packets_N is of no use.
    """

    pts_N: np.ndarray
    packets_N: np.ndarray
    keys_K: np.ndarray
    key_pts_K: np.ndarray
    time_base: Fraction
    duration: float
    counted: bool = False

    @property
    def seconds_N(self) -> np.ndarray:
        return (self.pts_N - self.pts_N[0]) * self.time_base.numerator / self.time_base.denominator

    @property
    def fps(self) -> float:
        return len(self.pts_N) / self.duration if self.duration > 0 else 0.0

    def count_keyframes(self, indices_T: np.ndarray) -> int | None:
        """Keyframes from the first to the last of the frames at ascending `indices_T`; None for a counted table."""
        first, last = self.pts_N[indices_T[0]], self.pts_N[indices_T[-1]]
        return None if self.counted else int(((self.key_pts_K >= first) & (self.key_pts_K <= last)).sum())

    def needed(self, indices: np.ndarray) -> np.ndarray:
        """Mask over packets: those to decode for the frames at `indices`, each from the last keyframe that comes before it both in
        the file and on the screen (the frames that an open group of pictures shows before its keyframe need the previous one)."""
        mask = np.zeros(int(self.packets_N[indices].max()) + 1, dtype=bool)
        for index in indices:
            packet = self.packets_N[index]
            starts = self.keys_K[(self.keys_K <= packet) & (self.key_pts_K <= self.pts_N[index])]
            mask[starts.max(initial=0) : packet + 1] = True
        return mask


@dataclass(frozen=True)
class Video:
    """A video file as its packets describe it. n_streams counts its video streams without cover art."""

    path: Path
    table: PacketTable
    geometry: Geometry
    codec: str
    n_streams: int
    has_cover: bool


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a local file and its largest video stream that is not cover art, decoding in one thread. Raises MediaError."""
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(f"file:{path.resolve()}", options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except NoSuchFileError:
        raise MediaError("missing", str(path)) from None
    except FFmpegError as error:
        raise MediaError("unreadable", error.strerror or "not a media file") from None
    with container:
        if (brand := container.metadata.get("major_brand")) in HEIF:
            raise MediaError(
                "unreadable", f"a HEIF picture ({brand}), of which a stream may be one tile; save it as JPEG or PNG"
            )
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise MediaError("no video stream", f"{len(container.streams)} streams in {container.format.name}")
        stream = max(streams, key=_pixels)
        if stream.codec_context is None:
            raise MediaError("unreadable", "no decoder for its video stream")
        if _pixels(stream) > MAX_PIXELS:
            raise MediaError("too large", f"{stream.codec_context.width}x{stream.codec_context.height} pixels")
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        yield container, stream


class Decoder:
    """Decodes packets one by one and counts what was damaged: packets it could not read, frames it marked as corrupt."""

    def __init__(self, stream: VideoStream) -> None:
        self._context = stream.codec_context
        self.damaged = 0

    def __call__(self, packet: Packet | None, skippable: bool = False) -> list[VideoFrame]:
        """The frames that come out after `packet`; None drains the decoder and makes it ready for another keyframe.

        A `skippable` packet is not decoded if no other frame refers to it.
        """
        if self._context.name in SKIPPING_DECODERS:
            self._context.skip_frame = "NONREF" if skippable else "DEFAULT"
        try:
            frames = self._context.decode(packet)
        except MemoryError:
            raise
        except FFmpegError:
            self._check_memory()
            self.damaged += 1
            return []
        if packet is None:
            self._context.flush_buffers()
        self.damaged += sum(frame.is_corrupt for frame in frames)
        return frames

    def _check_memory(self) -> None:
        """MemoryError where a frame has no room: decoders that lack memory report damage, which it is not."""
        np.empty(8 * self._context.width * self._context.height, dtype=np.uint8)


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The stream's packets with data in them, in file order, up to the end or to where the file stops making sense."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except MemoryError:
        raise
    except FFmpegError as error:
        log.debug("%s: stopped reading: %s", container.name, error)
    except (
        IndexError
    ):  # PyAV's, at the end of a recording in which a stream was added on the way; all packets have been read
        log.debug("%s: has streams that it does not begin with", container.name)


def read_video(path: Path) -> Video:
    """Read a video's packet table, decoding no more than its first frame. Raises MediaError."""
    with open_video(path) as (container, stream):
        decoder = Decoder(stream)
        first: list[VideoFrame] = []
        rows: list[PacketRow] = []
        for packet in packets(container, stream):
            rows.append(PacketRow(packet.pts, packet.duration or 0, packet.is_keyframe, _is_shown(packet)))
            first = first or decoder(packet)
        first = first or decoder(None)
        if not first:
            raise MediaError("no frames", f"none of {len(rows)} packets can be decoded")
        listed = len(stream.index_entries) if "mp4" in container.format.name else 0
        if len(rows) < listed:
            raise MediaError("truncated", f"{len(rows)} of {listed} frames are in the file")
        return Video(
            path=path,
            table=_table(path, rows, stream),
            geometry=_geometry(first[0], stream),
            codec=stream.codec_context.name,
            n_streams=sum(not _is_cover(video) for video in container.streams.video),
            has_cover=any(map(_is_cover, container.streams.video)),
        )


class PacketRow(NamedTuple):
    pts: int | None
    duration: int
    is_key: bool
    is_shown: bool


def _table(path: Path, rows: list[PacketRow], stream: VideoStream) -> PacketTable:
    """Frames by their packets' time stamps; by the decoder's order where those are missing, shared, or not those of the frames shown."""
    stamps = [row.pts for row in rows]
    table = _stamped(rows, stream) if None not in stamps and len(set(stamps)) == len(rows) else None
    if table and not _is_doubtful(rows, stream):
        return table
    shown = _decoded_stamps(path)
    return table if table and shown == table.pts_N.tolist() else _counted(len(shown), stream)


def _is_doubtful(rows: list[PacketRow], stream: VideoStream) -> bool:
    """Whether the time stamps look like ones that do not go with the frames.

    Those that a demuxer or muxer made up number the packets in file order, though the codec reorders frames (AVI and ASF store none,
    nor does a bare H.264 stream that was copied into mp4). Where they jump back at a keyframe, two recordings were joined.
    """
    pts_P = np.array([row.pts for row in rows])
    is_key_P = np.array([row.is_key for row in rows])
    made_up = stream.codec_context.has_b_frames and bool((np.diff(pts_P) > 0).all())
    return made_up or bool((is_key_P & (pts_P < np.maximum.accumulate(pts_P))).any())


def _decoded_stamps(path: Path) -> list[int | None]:
    """The time stamps of all frames in the order in which the decoder shows them."""
    with open_video(path) as (container, stream):
        decoder = Decoder(stream)
        return [frame.pts for packet in chain(packets(container, stream), [None]) for frame in decoder(packet)]


def _stamped(rows: list[PacketRow], stream: VideoStream) -> PacketTable:
    """Frames by their packets' time stamps. Frames shown before the first keyframe need packets that the file does not have."""
    if stream.time_base is None:
        raise MediaError("no timestamps", "the stream has no time base")
    pts_P, duration_P, is_key_P, is_shown_P = (np.array(column) for column in zip(*rows, strict=True))
    keys_K = np.flatnonzero(is_key_P)
    if keys_K.size:
        is_shown_P &= pts_P >= pts_P[keys_K[0]]
    shown_N = np.flatnonzero(is_shown_P)
    packets_N = shown_N[np.argsort(pts_P[shown_N])]
    if not packets_N.size:
        raise MediaError("no frames", f"none of {len(rows)} packets is shown")
    pts_N = pts_P[packets_N]
    last = int(duration_P[packets_N[-1]]) or int(np.median(np.diff(pts_N, prepend=pts_N[0])))
    return PacketTable(
        pts_N=pts_N,
        packets_N=packets_N,
        keys_K=keys_K,
        key_pts_K=pts_P[keys_K],
        time_base=stream.time_base,
        duration=float((int(pts_N[-1] - pts_N[0]) + last) * stream.time_base),
    )


def _counted(count: int, stream: VideoStream) -> PacketTable:
    """Frames in the order the decoder shows them, at the container's frame rate, for files without usable time stamps."""
    rate = stream.average_rate
    if not rate:
        raise MediaError("no timestamps", "neither time stamps nor a frame rate")
    frames_N, none = np.arange(count), np.arange(0)
    return PacketTable(frames_N, frames_N, none, none, time_base=1 / rate, duration=float(count / rate), counted=True)


def _geometry(frame: VideoFrame, stream: VideoStream) -> Geometry:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20]) if matrix else (1, 0, 0, 0, 1)
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    return Geometry(frame.height, frame.width, (a, b, c, d), Fraction(aspect))


def _is_shown(packet: Packet) -> bool:
    """Not cut off by an edit list, and not one of VP8's invisible reference frames (bit 4 of its first byte, RFC 6386 §9.1)."""
    invisible = packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
    return not packet.is_discard and not invisible


def _pixels(stream: VideoStream) -> int:
    context = stream.codec_context  # None, against its type, when no decoder is known
    return context.width * context.height if context else 0


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)
