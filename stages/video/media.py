"""Facts of a media file, and reasons why it is unusable."""

from dataclasses import dataclass
from typing import Literal

from stages.data.sample import DataType
from stages.run.objects import Version

Reason = Literal[
    "missing",  # no such file
    "inaccessible",  # the system or the server refuses to read it
    "unreachable",  # the server of an object fails
    "unreadable",  # no known container or picture format
    "no video stream",
    "no frames",
    "no timestamps",  # neither in the packets nor as a frame rate, or those of other frames
    "truncated",  # the file ends earlier than it says
    "too large",  # a picture with more pixels than MAX_PIXELS
    "aspect ratio",  # above what the model takes
    "empty clip",  # no frame between clip_start and clip_end
    "corrupt",  # more damaged frames than allowed
    "missing frame",  # a frame that was asked for did not come out of the decoder
    "changed",  # the file is not the one that was ingested
    "timeout",
    "out of memory",
    "crashed",
    "internal error",  # this program, or a library, failed on it; the detail names the error
]

# Reasons that may be gone when the same file is read another time.
PASSING: frozenset[Reason] = frozenset(
    {"missing", "inaccessible", "unreachable", "changed", "timeout", "out of memory", "crashed", "internal error"}
)

MAX_PIXELS = 100_000_000  # of one image or frame; 8K video has 33 million


class MediaError(Exception):
    """A media file that cannot be used.

    reason: a fixed word or two, to count by. detail: more about it, for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail

    @property
    def lasts(self) -> bool:
        """Whether every later run would refuse the same bytes again."""
        return self.reason not in PASSING


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a record is checked against.

    sha256: hash of the media, see `media_sha256`. duration: seconds from the first frame to the end of the last, 0.0
    for an image. version: of the object that it is a copy of.
    """

    sha256: str
    data_type: DataType
    duration: float
    version: Version | None = None
