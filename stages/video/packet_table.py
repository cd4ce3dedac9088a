"""The packet table: a video's frames, their times, the packets they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from stages.video.media import MediaError


class PacketRow(NamedTuple):
    """One packet; pts and duration in ticks of the time base.

    is_key: a decoder can start with it; where no test is known, the container says so. is_corrupt: the container says
    that bytes are missing.
    """

    pts: int | None
    duration: int
    is_key: bool
    is_shown: bool
    is_corrupt: bool


@dataclass(frozen=True)
class PacketTable:
    """The frames a video shows, in presentation order.

    pts_N: time stamp of each frame, in ticks of time_base. packets_N: position of each frame's packet in the file.
    keys_K and key_pts_K: position and time stamp of every packet that a decoder can start with; both are None where
    these are not known. duration: seconds from the first frame to the end of the last. counted: the file has no usable
    time stamps (H.264 with B-frames in AVI, recordings joined byte by byte), so all frames were decoded and counted;
    then pts_N is the number of each frame, and packets_N says nothing.
    """

    pts_N: np.ndarray
    packets_N: np.ndarray
    keys_K: np.ndarray | None
    key_pts_K: np.ndarray | None
    time_base: Fraction
    duration: float
    counted: bool = False

    @property
    def seconds_N(self) -> np.ndarray:
        """Seconds from the first frame to each frame."""
        return (self.pts_N - self.pts_N[0]) * self.time_base.numerator / self.time_base.denominator

    @property
    def fps(self) -> float:
        """Mean frame rate, 0.0 when the video has no duration."""
        return len(self.pts_N) / self.duration if self.duration > 0 else 0.0

    @property
    def first_key(self) -> int:
        """Position of the packet that decoding starts with."""
        return int(self.keys_K[0]) if self.keys_K is not None and self.keys_K.size else 0

    def count_keyframes(self, indices_T: np.ndarray) -> int | None:
        """Keyframes from the first to the last frame, None if not known.

        indices_T is ascending.
        """
        if self.key_pts_K is None:
            return None
        first, last = self.pts_N[indices_T[0]], self.pts_N[indices_T[-1]]
        return int(((self.key_pts_K >= first) & (self.key_pts_K <= last)).sum())

    def needed(self, indices_T: np.ndarray) -> np.ndarray:
        """Mask [P] over packets: those to decode for the frames at `indices_T`.

        Each frame is decoded from the last keyframe that precedes it both in the file and on the screen. An open
        group of pictures shows frames before its own keyframe; these frames need the keyframe of the group before.
        Without known keyframes all packets are decoded.
        """
        mask_P = np.zeros(int(self.packets_N[indices_T].max()) + 1, dtype=bool)
        if self.keys_K is None or self.key_pts_K is None:
            return ~mask_P
        for index in indices_T:
            packet = self.packets_N[index]
            starts = self.keys_K[(self.keys_K <= packet) & (self.key_pts_K <= self.pts_N[index])]
            mask_P[starts.max(initial=self.first_key) : packet + 1] = True
        return mask_P


def packet_row(packet: Packet, is_key: bool) -> PacketRow:
    """What the table keeps of a packet."""
    return PacketRow(packet.pts, packet.duration or 0, is_key, _is_shown(packet), packet.is_corrupt)


def has_stamps(rows: Sequence[PacketRow]) -> bool:
    """Whether every packet has a time stamp that no other packet has."""
    stamps = {row.pts for row in rows}
    return None not in stamps and len(stamps) == len(rows)


def is_doubtful(rows: Sequence[PacketRow], stream: VideoStream) -> bool:
    """Whether the time stamps may be those of other frames.

    A demuxer or muxer that makes up time stamps numbers the packets in file order, although the codec reorders
    frames. AVI and ASF store none, nor does a bare H.264 stream that was copied into mp4. Two recordings were joined
    where the time stamps jump back at a keyframe.
    """
    pts_P = np.array([row.pts for row in rows])
    is_key_P = np.array([row.is_key for row in rows])
    made_up = stream.codec_context.has_b_frames and bool((np.diff(pts_P) > 0).all())
    return made_up or bool((is_key_P & (pts_P < np.maximum.accumulate(pts_P))).any())


def stamped_table(
    rows: Sequence[PacketRow], stream: VideoStream, first_pts: int | None, knows_keys: bool
) -> PacketTable:
    """Frames by the time stamps of their packets. Raises MediaError.

    Frames that are shown before `first_pts` are left out.
    """
    if stream.time_base is None:
        raise MediaError("no timestamps", "the stream has no time base")
    pts_P, duration_P, is_key_P, is_shown_P, _ = (np.array(column) for column in zip(*rows, strict=True))
    if first_pts is not None:
        is_shown_P &= pts_P >= first_pts
    shown_N = np.flatnonzero(is_shown_P)
    packets_N = shown_N[np.argsort(pts_P[shown_N])]
    if not packets_N.size:
        raise MediaError("no frames", f"a player would show none of its {len(rows)} packets")
    pts_N = pts_P[packets_N]
    keys_K = np.flatnonzero(is_key_P) if knows_keys else None
    last = int(duration_P[packets_N[-1]]) or int(np.median(np.diff(pts_N, prepend=pts_N[0])))
    return PacketTable(
        pts_N=pts_N,
        packets_N=packets_N,
        keys_K=keys_K,
        key_pts_K=None if keys_K is None else pts_P[keys_K],
        time_base=stream.time_base,
        duration=float((int(pts_N[-1] - pts_N[0]) + last) * stream.time_base),
    )


def counted_table(count: int, stream: VideoStream) -> PacketTable:
    """`count` frames in the decoder's order, at the container's frame rate.

    Raises MediaError when there is no frame rate.
    """
    rate = stream.average_rate
    if not rate:
        raise MediaError("no timestamps", "neither time stamps nor a frame rate")
    frames_N = np.arange(count)
    return PacketTable(frames_N, frames_N, None, None, time_base=1 / rate, duration=float(count / rate), counted=True)


def _is_shown(packet: Packet) -> bool:
    """Whether a player shows the frame of the packet.

    It does not show what an edit list cuts off, nor VP8's invisible reference frames (bit 4 of the first byte, RFC
    6386 §9.1).
    """
    invisible = packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
    return not packet.is_discard and not invisible
