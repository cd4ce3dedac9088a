"""Makes clips with ffmpeg whose every frame shows its own number.

Two rows of five grey blocks are the bits of the number.
"""

from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
from ffmpeg.nodes import Stream

Option = Any  # of ffmpeg: text, a number, or None for a flag

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
HEIGHT, WIDTH, FPS = 96, 160, 25
DARK, BRIGHT = 40, 215


def numbered_frame(number: int) -> np.ndarray:
    """Frame [96, 160, 3] uint8 that shows the bits of `number`.

    There are ten bits, the highest first. A faint moving ramp gives codecs work.
    """
    bits = np.array([number >> bit & 1 for bit in range(9, -1, -1)]).reshape(2, 5)
    blocks = np.where(bits, BRIGHT, DARK).repeat(48, axis=0).repeat(32, axis=1)
    ramp = (np.arange(WIDTH) + np.arange(HEIGHT)[:, None] + 3 * number) % 32 - 16
    return np.repeat((blocks + ramp)[:, :, None], 3, axis=2).astype(np.uint8)


def read_number(frame_HWC: np.ndarray) -> int:
    """The number that a frame [H, W, 3] shows, at any size.

    Raises ValueError when a block is neither dark nor bright.
    """
    height, width = frame_HWC.shape[:2]
    number = 0
    for row in range(2):
        for column in range(5):
            y, x = int((row + 0.5) * height / 2), int((column + 0.5) * width / 5)
            level = frame_HWC[y - height // 12 : y + height // 12, x - width // 20 : x + width // 20].mean()
            if abs(level - DARK) > 45 and abs(level - BRIGHT) > 45:
                raise ValueError(f"block {row}, {column} has level {level:.0f}")
            number = number * 2 + int(level > 128)
    return number


def encode(path: Path, frames: int = 60, source: dict[str, Option] | None = None, **output: Option) -> Path:
    """Encode `frames` numbered frames with ffmpeg.

    `source` and `output` are ffmpeg's options of the input and of the file.
    """
    pictures = np.stack([numbered_frame(number) for number in range(frames)])
    stream = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{WIDTH}x{HEIGHT}", r=FPS, **(source or {}))
    options = {"pix_fmt": "yuv420p", "threads": 1, **output}
    run(stream.output(str(path), **options), pictures.tobytes())
    return path


def remux(path: Path, original: Path, source: dict[str, Option] | None = None, **output: Option) -> Path:
    """Copy a clip's packets into another file with other container options."""
    run(ffmpeg.input(str(original), **(source or {})).output(str(path), c="copy", **output))
    return path


def run(stream: Stream, data: bytes | None = None) -> None:
    """Run one ffmpeg command with `data` as its standard input."""
    ffmpeg.run(stream, cmd=FFMPEG, input=data, quiet=True, overwrite_output=True)


H264: dict[str, Option] = {"vcodec": "libx264", "g": 12, "bf": 3}
OPEN_GOP: dict[str, Option] = {**H264, "x264-params": "open-gop=1:b-pyramid=normal"}
X265: dict[str, Option] = {"vcodec": "libx265", "x265-params": "keyint=12:log-level=none:pools=1:frame-threads=1"}
TILTED = ("rotated-90.mp4", "rotated-180.mp4", "rotated-270.mp4", "mirrored.mp4")

# How each kind of file is made. They show frames 0..59 at 25 per second unless a test says otherwise.
ENCODED: dict[str, dict[str, Option]] = {
    "h264.mp4": H264,
    "h264-open-gop.mp4": OPEN_GOP,
    "hevc.mp4": X265,
    "hevc.mkv": X265,
    "vp8.webm": {"vcodec": "libvpx", "g": 20, "b:v": "300k"},
    "vp9.webm": {"vcodec": "libvpx-vp9", "g": 20, "cpu-used": 5, "b:v": "300k"},
    # No frame count, no length.
    "vp9-live.webm": {"vcodec": "libvpx-vp9", "g": 20, "cpu-used": 5, "b:v": "300k", "live": 1},
    "av1.mp4": {"vcodec": "libsvtav1", "g": 20, "preset": 8, "crf": 15, "svtav1-params": "lp=1"},
    "mpeg4-b-frames.avi": {"vcodec": "mpeg4", "bf": 2, "g": 12, "q:v": 2},
    "h264-b-frames.avi": H264,
    "h264-b-frames.asf": H264,
    "h264.ts": OPEN_GOP,
    "mpeg2.ts": {"vcodec": "mpeg2video", "bf": 2, "g": 12, "q:v": 2},
    "wmv2.wmv": {"vcodec": "wmv2", "g": 12, "q:v": 2},
    "flv1.flv": {"vcodec": "flv", "g": 12, "q:v": 2},
    "theora.ogv": {"vcodec": "libtheora", "g": 12, "q:v": 9},
    "animated.gif": {"pix_fmt": "rgb8"},
    "10-bit.mp4": {**H264, "pix_fmt": "yuv420p10le"},
    "full-range.mp4": {**H264, "pix_fmt": "yuvj420p", "color_range": "pc"},
    "fragmented.mp4": {**H264, "movflags": "frag_keyframe+empty_moov"},
    "wide-pixels.mp4": {**H264, "vf": "setsar=2/1"},
    "one-frame.mp4": {**H264, "frames": 1},
    "three-frames.mp4": {**H264, "frames": 3},
    # Frames 0 to 19, then every fourth.
    "variable-rate.mp4": {**H264, "vf": "select='lt(n,20)+not(mod(n,4))'", "fps_mode": "vfr"},
}


def make_clips(folder: Path) -> Path:
    """Write the whole set into `folder`."""
    for name, options in ENCODED.items():
        encode(folder / name, **options)
    h264, open_gop = folder / "h264.mp4", folder / "h264-open-gop.mp4"
    remux(folder / "edit-start.mp4", h264, source={"ss": 0.5})
    remux(folder / "edit-start-open-gop.mp4", open_gop, source={"ss": 0.9})
    (folder / "edit-end.mp4").write_bytes(end_edit_after(1.0, h264.read_bytes()))
    for angle in (90, 180, 270):
        remux(folder / f"rotated-{angle}.mp4", h264, source={"display_rotation": angle})
    remux(folder / "mirrored.mp4", h264, source={"display_rotation": 0, "display_hflip": None})
    remux(folder / "index-first.mp4", h264, movflags="faststart")
    run(ffmpeg.input("sine=d=1", f="lavfi").output(str(folder / "audio-only.mp4")))
    cover = ffmpeg.input("color=red:s=320x320:d=0.04", f="lavfi")
    run(ffmpeg.output(cover, str(folder / "cover.png"), **{"frames:v": 1}))
    both = (ffmpeg.input(str(h264)), ffmpeg.input(str(folder / "cover.png")))
    run(ffmpeg.output(*both, str(folder / "cover-art.mp4"), c="copy", **{"disposition:v:1": "attached_pic"}))
    return folder


def end_edit_after(seconds: float, mp4: bytes) -> bytes:
    """The clip with the length in its edit list cut to `seconds`.

    An edit list of version 0 is size, 'elst', flags, count, then the length.
    """
    place = mp4.index(b"elst") + 12
    return mp4[:place] + int(seconds * 1000).to_bytes(4, "big") + mp4[place + 4 :]


def damage(data: bytes, flips: int) -> bytes:
    """The bytes with some bits of the middle half flipped."""
    damaged = bytearray(data)
    for place in np.random.default_rng(3).integers(len(data) // 4, len(data) * 3 // 4, flips):
        damaged[place] ^= 1 << int(place) % 8
    return bytes(damaged)
