"""Decodes exact frames: each has the time stamp in the packet table."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain, groupby, islice

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from stages.video.container import open_video, packets
from stages.video.decoder import Decoder
from stages.video.media import MediaError
from stages.video.packet_table import PacketTable
from stages.video.video_file import Video

Convert = Callable[[np.ndarray], np.ndarray]
IndexedFrame = tuple[int, VideoFrame]
# Packets → the wanted frames with their indices.
Select = Callable[[Iterable[Packet], Decoder], Iterator[IndexedFrame]]

# Pixels of frames that are converted together. For small frames this halves the work of converting them one by one.
HELD_PIXELS = 1 << 22


def decode(video: Video, indices_T: np.ndarray, convert: Convert, max_corrupt: int = 0) -> list[np.ndarray]:
    """The converted pictures of the frames at ascending `indices_T`.

    An index is a place in the packet table. `convert` gets upright uint8 RGB pictures [T, H, W, 3], a few at a time,
    and returns as many pictures. Only the packets that lead from a keyframe to a wanted frame are decoded; packets
    among them that no other frame refers to are skipped. Raises MediaError when a frame does not come out, or when
    more than `max_corrupt` packets or frames on the way were damaged.
    """
    if video.table.counted:
        return _finish(*_pictures(video, partial(_by_count, indices_T), convert), indices_T, max_corrupt)
    needed_P = video.table.needed(indices_T)
    pictures, damaged = _pictures(video, partial(_by_time_stamp, video.table, indices_T, needed_P), convert)
    if (len(pictures) < len(indices_T) or damaged > max_corrupt) and not needed_P.all():
        # A keyframe may need what comes before it: in a stream that refreshes gradually, or whose marks are wrong.
        whole = _pictures(video, partial(_by_time_stamp, video.table, indices_T, np.ones_like(needed_P)), convert)
        if len(whole[0]) == len(indices_T) and whole[1] <= max_corrupt:
            pictures, damaged = whole
    return _finish(pictures, damaged, indices_T, max_corrupt)


def _pictures(video: Video, select: Select, convert: Convert) -> tuple[dict[int, np.ndarray], int]:
    """Converted pictures by frame index, and how much was damaged.

    The file is read from its start, without seeking: reading costs a hundredth of decoding, and positions in a file
    that is read are exact in every format.
    """
    pictures: dict[int, np.ndarray] = {}
    at_once = max(1, HELD_PIXELS // (video.geometry.height * video.geometry.width))
    # One converter for all frames, in one thread: making one costs more than decoding a small frame.
    reformatter = VideoReformatter()
    with open_video(video.path) as (container, stream):
        decoder = Decoder(stream)
        frames = select(packets(container, stream), decoder)
        while held := list(islice(frames, at_once)):
            for _, alike in groupby(held, key=_size):  # a stream may change its size
                indices, same_size = zip(*alike, strict=True)
                upright = [video.geometry.upright(_rgb(frame, reformatter)) for frame in same_size]
                pictures |= zip(indices, convert(np.stack(upright)), strict=True)
    return pictures, decoder.damaged


def _size(indexed: IndexedFrame) -> tuple[int, int]:
    _, frame = indexed
    return frame.height, frame.width


def _rgb(frame: VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    try:
        return reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    except MemoryError:
        raise
    except FFmpegError:  # YCgCo, ICtCp and the like
        raise MediaError(
            "unreadable", f"its {frame.format.name} in colour space {int(frame.colorspace)} cannot be converted to RGB"
        ) from None


def _by_time_stamp(
    table: PacketTable, indices_T: np.ndarray, needed_P: np.ndarray, packets: Iterable[Packet], decoder: Decoder
) -> Iterator[IndexedFrame]:
    """The frames at `indices_T` by their time stamps, from the needed packets."""
    wanted = {int(table.pts_N[index]): int(index) for index in indices_T}
    frames = chain.from_iterable(_decoded(table, wanted.keys(), needed_P, packets, decoder))
    return ((wanted[frame.pts], frame) for frame in _ascending(frames, decoder) if frame.pts in wanted)


def _decoded(
    table: PacketTable, wanted: Collection[int], needed_P: np.ndarray, packets: Iterable[Packet], decoder: Decoder
) -> Iterator[list[VideoFrame]]:
    """The frames of each stretch of needed packets, from its keyframe on.

    A frame that is shown before the keyframe of its stretch needs the stretch before, so its packet is left out. Before
    the first keyframe the table has only frames that need nothing else.
    """
    first_pts: int | None = None  # of the frames that the present stretch shows
    for position, (packet, needed) in enumerate(zip(packets, needed_P, strict=False)):
        if not needed and first_pts is not None:
            yield decoder(None)
            first_pts = None
        elif needed and packet.pts is not None:  # without time stamps there is no such table
            if first_pts is None:
                first_pts = packet.pts if position > table.first_key else min(packet.pts, int(table.pts_N[0]))
            if packet.pts >= first_pts:
                yield decoder(packet, skippable=packet.pts not in wanted)
    yield decoder(None)


def _ascending(frames: Iterable[VideoFrame], decoder: Decoder) -> Iterator[VideoFrame]:
    """The frames as they come, checked to be in order.

    A decoder puts frames out in the order in which they are shown. Raises MediaError when an undamaged frame has an
    earlier time stamp than the frame before it.
    """
    last = None
    for frame in frames:
        if last is not None and frame.pts is not None and frame.pts < last and not decoder.damaged:
            raise MediaError("no timestamps", "its frames come in another order than that of their time stamps")
        last = frame.pts
        yield frame


def _by_count(indices_T: np.ndarray, packets: Iterable[Packet], decoder: Decoder) -> Iterator[IndexedFrame]:
    """The frames at `indices_T` when all frames are decoded and counted."""
    wanted = set(indices_T.tolist())
    frames = chain.from_iterable(map(decoder, chain(packets, [None])))
    return ((number, frame) for number, frame in enumerate(frames) if number in wanted)


def _finish(pictures: dict[int, np.ndarray], damaged: int, indices_T: np.ndarray, max_corrupt: int) -> list[np.ndarray]:
    if damaged > max_corrupt:
        raise MediaError("corrupt", f"{damaged} damaged packets or frames")
    missing = [int(index) for index in indices_T if int(index) not in pictures]
    if missing:
        raise MediaError(
            "missing frame", f"{len(missing)} of {len(indices_T)} frames do not decode, the first is frame {missing[0]}"
        )
    return [pictures[int(index)] for index in indices_T]
