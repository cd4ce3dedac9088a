"""What a media file is: facts from its packet table, not from its header, and a reason when it cannot be used."""

import hashlib
from pathlib import Path

from stages.run.files import sha256_file
from stages.video.media import MediaError, MediaInfo
from stages.video.picture import folder_fps, folder_frames, image_size, is_image
from stages.video.table import read_video


def probe(path: Path) -> MediaInfo:
    """Probe a video, an image or a folder of numbered frames. Raises MediaError.

    Decodes one frame at most, except for files whose packets carry no usable time stamps, which are decoded to count them.
    """
    if not path.exists():
        raise MediaError("missing", str(path))
    if path.is_dir():
        return _probe_folder(path)
    if is_image(path):
        height, width = image_size(path)
        return MediaInfo(sha256_file(path), "image", 1, 0.0, 0.0, height, width, "image")
    video = read_video(path)
    height, width = video.geometry.shown
    return MediaInfo(
        sha256=sha256_file(path),
        data_type="video",
        n_frames=len(video.table.pts_N),
        duration=video.table.duration,
        fps=video.table.fps,
        height=height,
        width=width,
        codec=video.codec,
        n_streams=video.n_streams,
        has_cover=video.has_cover,
    )


def media_sha256(path: Path) -> str:
    """Hash of a media file's bytes; of a frame folder, of its frames' names and bytes and its rate."""
    if not path.is_dir():
        return sha256_file(path)
    lines = [f"{frame.name} {sha256_file(frame)}" for frame in folder_frames(path)]
    return hashlib.sha256("\n".join([*lines, f"{folder_fps(path):g}"]).encode()).hexdigest()


def _probe_folder(folder: Path) -> MediaInfo:
    frames, fps = folder_frames(folder), folder_fps(folder)
    height, width = image_size(frames[0])
    return MediaInfo(media_sha256(folder), "video", len(frames), len(frames) / fps, fps, height, width, "frames")
