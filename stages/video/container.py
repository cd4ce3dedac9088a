"""Opens a video file and reads the packets of its main stream."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.error import FileNotFoundError as NoSuchFileError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from stages.video.media import MAX_PIXELS, MediaError

log = logging.getLogger(__name__)

# Demuxers that read one file and nothing else: no playlists, no image sequences, no concat lists.
FORMATS = "asf,avi,flv,gif,ivf,matroska,mov,mpeg,mpegts,nut,ogg"

# Brands of pictures in an mp4 container.
HEIF = frozenset({"avif", "avis", "heic", "heim", "heis", "heix", "hevc", "hevx", "mif1", "mif2", "msf1"})


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a local file and its largest video stream.

    Cover art does not count as one, nor does a still beside a stream of more frames (a motion photo). The stream
    decodes in one thread. Raises MediaError.
    """
    with _open_container(path) as container:
        if (brand := container.metadata.get("major_brand")) in HEIF:
            raise MediaError(
                "unreadable", f"a HEIF picture ({brand}), of which a stream may be one tile; save it as JPEG or PNG"
            )
        streams = [stream for stream in container.streams.video if not is_cover(stream)]
        if not streams:
            raise MediaError("no video stream", f"{len(container.streams)} streams in {container.format.name}")
        moving = _moving(path, streams) if len(streams) > 1 else streams
        stream = max(moving, key=_pixels)
        if stream.codec_context is None:
            raise MediaError("unreadable", "no decoder for its video stream")
        if _pixels(stream) > MAX_PIXELS:
            raise MediaError("too large", f"{stream.codec_context.width}x{stream.codec_context.height} pixels")
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        yield container, stream


def packets(container: InputContainer, *streams: VideoStream) -> Iterator[Packet]:
    """The packets of the streams that hold data, in file order.

    They end where the file ends, or where its bytes are no packets any more.
    """
    try:
        yield from (packet for packet in container.demux(*streams) if packet.size)
    except MemoryError:
        raise
    except FFmpegError as error:
        log.debug("%s: stopped reading: %s", container.name, error)
    except IndexError:
        # PyAV raises it at the end of a recording in which a stream was added on the way. All packets have been read.
        log.debug("%s: has streams that it does not begin with", container.name)


def is_cover(stream: VideoStream) -> bool:
    """Whether the stream is a still cover picture of the file."""
    return bool(stream.disposition & Disposition.attached_pic)


def _open_container(path: Path) -> InputContainer:
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        return av.open(f"file:{path.resolve()}", options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except NoSuchFileError:
        raise MediaError("missing", str(path)) from None
    except FFmpegError as error:
        formats = FORMATS.replace(",", ", ")
        detail = f"no file of a format that is read ({formats}), or its header is damaged ({error.strerror})"
        raise MediaError("unreadable", detail) from None


def _moving(path: Path, streams: list[VideoStream]) -> list[VideoStream]:
    """The streams that have more than one frame, or all of them.

    All are returned when none has more than one.
    """
    counts = Counter[int]()
    with _open_container(path) as container:
        same = [stream for stream in container.streams.video if stream.index in {each.index for each in streams}]
        for packet in packets(container, *same):
            counts[packet.stream_index] += 1
            if all(counts[stream.index] > 1 for stream in streams):
                break
    return [stream for stream in streams if counts[stream.index] > 1] or streams


def _pixels(stream: VideoStream) -> int:
    context = stream.codec_context  # None, against its type, when no decoder is known
    return context.width * context.height if context else 0
