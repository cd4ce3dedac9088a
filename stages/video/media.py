"""What is known about a media file, and the one way to say that it cannot be used."""

from dataclasses import dataclass
from typing import Literal

from stages.data.sample import DataType

Reason = Literal[
    "missing",  # no such file
    "inaccessible",  # the system refuses to read it
    "unreadable",  # no known container or picture format
    "no video stream",
    "no frames",
    "no timestamps",  # neither in the packets nor as a frame rate, or those of other frames
    "truncated",  # the file ends before the frames its index lists
    "too large",  # a picture with more pixels than MAX_PIXELS
    "aspect ratio",  # above what the model takes
    "empty clip",  # no frame between clip_start and clip_end
    "corrupt",  # more damaged frames than allowed
    "missing frame",  # a frame that was asked for did not come out of the decoder
    "changed",  # the file is not the one that was ingested
    "timeout",
    "out of memory",
    "crashed",
]

# The same file may do another time.
PASSING: frozenset[Reason] = frozenset({"missing", "inaccessible", "changed", "timeout", "out of memory", "crashed"})

MAX_PIXELS = 100_000_000  # of one image or frame; 8K video has 33 million


class MediaError(Exception):
    """A media file that cannot be used: a reason to count by, and the detail for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail

    @property
    def lasts(self) -> bool:
        """Whether the same bytes will be refused again, whenever and wherever they are read."""
        return self.reason not in PASSING


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts of one video, image or frame folder.

    height and width are those shown: after rotation and pixel aspect ratio. n_frames counts the frames shown (edit lists applied),
    duration is in seconds from the first to the end of the last, fps = n_frames / duration (0.0 for an image). n_streams counts
    video streams without cover art.
    """

    sha256: str
    data_type: DataType
    n_frames: int
    duration: float
    fps: float
    height: int
    width: int
    codec: str
    n_streams: int = 1
    has_cover: bool = False
