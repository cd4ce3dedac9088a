"""Packets → decoded frames, with a count of the damage."""

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# Decoders that obey when they are told packet by packet what to skip; libdav1d, for one, reads the setting once.
SKIPPING_DECODERS = ("h264", "hevc")


class Decoder:
    """Decodes packets one by one and counts what is damaged.

    `damaged` counts the packets that it could not read and the frames that it marked as corrupt.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._context = stream.codec_context
        self.damaged = 0

    def __call__(self, packet: Packet | None, skippable: bool = False) -> list[VideoFrame]:
        """The frames that come out after `packet`.

        None drains the decoder and makes it ready for another keyframe. A `skippable` packet is not decoded if no
        other frame refers to it.
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
        """Raises MemoryError when a frame has no room.

        A decoder that lacks memory reports damage, although the file has none.
        """
        np.empty(8 * self._context.width * self._context.height, dtype=np.uint8)
