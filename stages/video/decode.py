"""Exact frames: each is the one whose time stamp the packet table names, or there is none."""

from collections.abc import Callable
from itertools import chain

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from stages.video.media import MediaError
from stages.video.table import Decoder, Video, open_video, packets

Convert = Callable[[np.ndarray], np.ndarray]
Picture = Callable[[VideoFrame], np.ndarray]


def decode(video: Video, indices_T: np.ndarray, convert: Convert, max_corrupt: int = 0) -> list[np.ndarray]:
    """The frames at ascending `indices_T` of the table, each upright [H, W, 3] uint8 RGB and passed through `convert`.

    Only the packets that lead from a keyframe to a wanted frame are decoded, and of those not the ones nobody refers to. Converting
    as they come keeps one full-size frame in memory. Raises MediaError when a frame does not come out, or when more than
    `max_corrupt` packets or frames on the way to them were damaged.
    """
    rgb = VideoReformatter()  # one for all frames, in one thread: a new one per frame costs more than a small frame's decoding

    def picture(frame: VideoFrame) -> np.ndarray:
        return convert(video.geometry.upright(rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()))

    if video.table.counted:
        return _finish(*_decode_counted(video, indices_T, picture), indices_T, max_corrupt)
    needed_P = video.table.needed(indices_T)
    pictures, damaged = _decode_stamped(video, indices_T, needed_P, picture)
    if len(pictures) < len(indices_T) and not damaged:
        # A keyframe that was none, as in streams that refresh gradually: what comes before it is needed as well.
        pictures, damaged = _decode_stamped(video, indices_T, np.ones_like(needed_P), picture)
    return _finish(pictures, damaged, indices_T, max_corrupt)


def _decode_stamped(video: Video, indices_T: np.ndarray, needed_P: np.ndarray, picture: Picture) -> tuple[dict[int, np.ndarray], int]:
    """Converted pictures by frame index, and how much was damaged, decoding the needed packets.

    The file is read through and not sought in: reading is a hundredth of decoding, and positions in it are exact in every format.
    """
    wanted = {int(video.table.pts_N[index]): int(index) for index in indices_T}
    pictures: dict[int, np.ndarray] = {}

    def keep(frames: list[VideoFrame]) -> None:
        for frame in frames:
            if frame.pts in wanted:
                pictures[wanted[frame.pts]] = picture(frame)

    with open_video(video.path) as (container, stream):
        decoder = Decoder(stream)
        first_pts: int | None = None  # of the keyframe this stretch began with; what is shown before it needs the stretch before
        for packet, needed in zip(packets(container, stream), needed_P, strict=False):
            if not needed and first_pts is not None:
                keep(decoder(None))
                first_pts = None
            elif needed and (first_pts is None or packet.pts is None or packet.pts >= first_pts):
                first_pts = packet.pts if first_pts is None else first_pts
                keep(decoder(packet, skippable=packet.pts not in wanted))
        keep(decoder(None))
    return pictures, decoder.damaged


def _decode_counted(video: Video, indices_T: np.ndarray, picture: Picture) -> tuple[dict[int, np.ndarray], int]:
    """The same for a table without time stamps: all frames are decoded and counted."""
    wanted = set(indices_T.tolist())
    with open_video(video.path) as (container, stream):
        decoder = Decoder(stream)
        frames = chain.from_iterable(map(decoder, chain(packets(container, stream), [None])))
        pictures = {number: picture(frame) for number, frame in enumerate(frames) if number in wanted}
    return pictures, decoder.damaged


def _finish(pictures: dict[int, np.ndarray], damaged: int, indices_T: np.ndarray, max_corrupt: int) -> list[np.ndarray]:
    if damaged > max_corrupt:
        raise MediaError("corrupt", f"{damaged} damaged packets or frames")
    missing = [int(index) for index in indices_T if int(index) not in pictures]
    if missing:
        raise MediaError("missing frame", f"{len(missing)} of {len(indices_T)} frames do not decode, the first is frame {missing[0]}")
    return [pictures[int(index)] for index in indices_T]
