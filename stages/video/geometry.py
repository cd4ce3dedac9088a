"""How a decoded picture is turned, mirrored and stretched for a screen."""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stages.video.media import MediaError

MOST_SKEW = 0.1  # that of 6 degrees
MAX_TYPES = 64  # of side data; FFmpeg 8 has 32


@dataclass(frozen=True)
class Geometry:
    """Size, direction and pixel shape of a video's pictures.

    height and width: of the decoded picture, in pixels. matrix: (a, b, c, d) of the display matrix. aspect: width of
    a pixel divided by its height.
    """

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
        """Whether rows become columns."""
        a, b, _, _ = self.matrix
        return abs(b) > abs(a)

    def upright(self, picture_HWC: np.ndarray) -> np.ndarray:
        """The picture turned and mirrored as its display matrix says.

        The matrix moves a pixel to x' = a x + c y, y' = b x + d y, up to a shift.
        """
        a, b, c, d = self.matrix
        if self.transposed:
            picture_HWC, a, d = picture_HWC.transpose(1, 0, 2), c, b
        return picture_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def geometry_of(frame: VideoFrame, stream: VideoStream) -> Geometry:
    """The geometry of a stream, from its first frame and its header.

    Raises MediaError for a display matrix that turns by another angle than 0, 90, 180 or 270 degrees.
    """
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV's, for side data that it has no name for, such as EXIF or the views of a 3D film
        matrix = _without_unnamed(frame).side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20]) if matrix else (1, 0, 0, 0, 1)
    if min(abs(a), abs(b)) > MOST_SKEW * max(abs(a), abs(b)):
        degrees = math.degrees(math.atan2(b, a))
        detail = f"its pictures are turned by {degrees:.0f} degrees, not by 90, 180 or 270; encode it upright"
        raise MediaError("unreadable", detail)
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    return Geometry(frame.height, frame.width, (a, b, c, d), Fraction(aspect))


def _without_unnamed(frame: VideoFrame) -> VideoFrame:
    """The frame without the side data that PyAV has no name for."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    named = {kind.value for kind in Type}
    filters = [graph.add("sidedata", f"mode=delete:type={kind}") for kind in range(MAX_TYPES) if kind not in named]
    graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
