"""Says what a media file is, or why it cannot be used."""

import hashlib
from dataclasses import replace
from pathlib import Path

from stages.run.addresses import place_of
from stages.run.downloads import HEAD, placeholder
from stages.run.files import sha256_file
from stages.run.object_cache import local_file
from stages.video.media import MediaError, MediaInfo
from stages.video.picture import folder_fps, folder_frames, is_image, read_image
from stages.video.video_file import read_video


def probe_medium(media_path: str) -> MediaInfo:
    """Probe the file or object of a sample. Raises MediaError or ObjectError."""
    with local_file(place_of(media_path)) as local:
        return replace(probe(local.path), version=local.version)


def probe(path: Path) -> MediaInfo:
    """Probe a video, an image or a folder of frames.

    Raises MediaError. An image is decoded whole. Of a video the packets are read; see `read_video` for what is decoded.
    """
    if not path.exists():
        raise MediaError("missing", str(path))
    if path.is_dir():
        return _probe_folder(path)
    _check_downloaded(path)
    if is_image(path):
        read_image(path)
        return MediaInfo(sha256_file(path), "image", duration=0.0)
    video = read_video(path)
    return MediaInfo(sha256_file(path), "video", video.table.duration)


def _check_downloaded(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if what := placeholder(head) if head else "empty":
        raise MediaError("unreadable", f"the file is {what}")


def media_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes. Raises MediaError.

    Of a frame folder it covers the names and bytes of the frames, and their rate.
    """
    if not path.is_dir():
        return sha256_file(path)
    lines = [f"{frame.name} {sha256_file(frame)}" for frame in folder_frames(path)]
    return hashlib.sha256("\n".join([*lines, f"{folder_fps(path):g}"]).encode()).hexdigest()


def _probe_folder(folder: Path) -> MediaInfo:
    frames, fps = folder_frames(folder), folder_fps(folder)
    read_image(frames[0])
    return MediaInfo(media_sha256(folder), "video", duration=len(frames) / fps)
