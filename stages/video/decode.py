"""Exact frames: each is the one whose time stamp the packet table names, or there is none."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, groupby, islice

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from stages.video.media import MediaError
from stages.video.table import Decoder, Video, open_video, packets

Convert = Callable[[np.ndarray], np.ndarray]
Wanted = Callable[
    [Iterable[Packet], Decoder], Iterator[tuple[int, VideoFrame]]
]  # the wanted frames, each with its index

HELD_PIXELS = 1 << 22  # of frames that are converted together, which for small frames is half of the work of one by one


def decode(video: Video, indices_T: np.ndarray, convert: Convert, max_corrupt: int = 0) -> list[np.ndarray]:
    """The frames at ascending `indices_T` of the table, upright uint8 RGB, passed through `convert` a few at a time.

    `convert` gets [T, H, W, 3] and gives as many pictures. Only the packets that lead from a keyframe to a wanted frame are decoded,
    and of those not the ones nobody refers to. Raises MediaError when a frame does not come out, or when more than `max_corrupt`
    packets or frames on the way to them were damaged.
    """
    if video.table.counted:
        return _finish(*_pictures(video, partial(_by_count, indices_T), convert), indices_T, max_corrupt)
    wanted = {int(video.table.pts_N[index]): int(index) for index in indices_T}
    needed_P = video.table.needed(indices_T)
    pictures, damaged = _pictures(video, partial(_by_time_stamp, wanted, needed_P), convert)
    if len(pictures) < len(indices_T) and not damaged:
        # A keyframe that was none, as in streams that refresh gradually: what comes before it is needed as well.
        pictures, damaged = _pictures(video, partial(_by_time_stamp, wanted, np.ones_like(needed_P)), convert)
    return _finish(pictures, damaged, indices_T, max_corrupt)


def _pictures(video: Video, wanted: Wanted, convert: Convert) -> tuple[dict[int, np.ndarray], int]:
    """Converted pictures by frame index, and how much was damaged.

    The file is read through and not sought in: reading is a hundredth of decoding, and positions in it are exact in every format.
    """
    rgb = (
        VideoReformatter()
    )  # one for all frames, in one thread: a new one per frame costs more than a small frame's decoding
    pictures: dict[int, np.ndarray] = {}
    with open_video(video.path) as (container, stream):
        decoder = Decoder(stream)
        frames = wanted(packets(container, stream), decoder)
        while held := list(islice(frames, max(1, HELD_PIXELS // (video.geometry.height * video.geometry.width)))):
            for _, alike in groupby(
                held, key=lambda frame: (frame[1].height, frame[1].width)
            ):  # a stream may change its size
                indices, same = zip(*alike, strict=True)
                upright = [video.geometry.upright(_rgb(frame, rgb)) for frame in same]
                pictures |= zip(indices, convert(np.stack(upright)), strict=True)
    return pictures, decoder.damaged


def _rgb(frame: VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    try:
        return reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    except MemoryError:
        raise
    except FFmpegError:  # YCgCo, ICtCp and the like
        raise MediaError(
            "unreadable", f"its {frame.format.name} in colour space {int(frame.colorspace)} has no way to RGB"
        ) from None


def _by_time_stamp(
    wanted: dict[int, int], needed_P: np.ndarray, packets: Iterable[Packet], decoder: Decoder
) -> Iterator[tuple[int, VideoFrame]]:
    """The frames with the wanted time stamps, decoding the needed packets; `wanted` gives the index of each."""

    def decoded() -> Iterator[list[VideoFrame]]:
        first_pts: int | None = (
            None  # of the keyframe this stretch began with; what is shown before it needs the stretch before
        )
        for packet, needed in zip(packets, needed_P, strict=False):
            if not needed and first_pts is not None:
                yield decoder(None)
                first_pts = None
            elif needed and (first_pts is None or packet.pts is None or packet.pts >= first_pts):
                first_pts = packet.pts if first_pts is None else first_pts
                yield decoder(packet, skippable=packet.pts not in wanted)
        yield decoder(None)

    return (
        (wanted[frame.pts], frame)
        for frame in _ascending(chain.from_iterable(decoded()), decoder)
        if frame.pts in wanted
    )


def _ascending(frames: Iterable[VideoFrame], decoder: Decoder) -> Iterator[VideoFrame]:
    """The frames as they come. MediaError where an undamaged one is stamped earlier than the one before: decoders show frames in order."""
    last = None
    for frame in frames:
        if last is not None and frame.pts is not None and frame.pts < last and not decoder.damaged:
            raise MediaError("no timestamps", "its frames come in another order than that of their time stamps")
        last = frame.pts
        yield frame


def _by_count(indices_T: np.ndarray, packets: Iterable[Packet], decoder: Decoder) -> Iterator[tuple[int, VideoFrame]]:
    """The same for a table without time stamps: all frames are decoded and counted."""
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
