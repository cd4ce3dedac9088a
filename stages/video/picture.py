"""Images and folders of numbered images, through Pillow."""

import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from stages.video.media import MAX_PIXELS, MediaError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png")
ANIMATED = ("PNG", "WEBP")
SUBFILE_TYPE = 254  # the tag of a TIFF whose first bit marks a smaller copy of another page
FOLDER_FPS = 3.0  # MVBench's frame folders (TVQA); another rate stands in the folder's fps.txt


def is_image(path: Path) -> bool:
    """Whether the file begins like a still image.

    An animated GIF is a video. Raises MediaError for a damaged image, and for another animation or several pages.
    """
    with _damage_refused():
        try:
            image = _open(path)
        except UnidentifiedImageError:
            return False
        with image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format in ANIMATED:
                raise MediaError("unreadable", f"an animated {image.format} of {frames} frames; convert it to mp4")
            if isinstance(image, TiffImageFile) and (pages := _pages(image)) > 1:
                raise MediaError("unreadable", f"a TIFF of {pages} pages; save each page as a file of its own")
            return image.format != "GIF" or frames == 1


def _pages(image: TiffImageFile) -> int:
    """The number of a TIFF's pages; smaller copies do not count."""
    pages = 0
    for number in range(image.n_frames):
        image.seek(number)
        pages += not image.tag_v2.get(SUBFILE_TYPE, 0) & 1
    return pages


def read_image(path: Path) -> np.ndarray:
    """The whole image as uint8 RGB [H, W, 3], turned upright.

    Raises MediaError. EXIF says how to turn it. Transparent parts become white, as in qwen-vl-utils. 16-bit grey is
    scaled to 8 bits; Pillow would show all but its darkest 256 levels as white.
    """
    with _damage_refused(), _open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            upright = Image.fromarray((np.asarray(upright) / 257).round().astype(np.uint8))
        if upright.mode in ("I", "F"):
            raise MediaError("unreadable", f"pixels of 32 bits ({upright.mode}), which may mean anything")
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return np.asarray(upright.convert("RGB"))


def folder_frames(folder: Path) -> list[Path]:
    """The numbered frames of a folder (00001.jpg, …) in order.

    Raises MediaError when there are none, or when a link leads out of the folder.
    """
    frames = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.stem.isdecimal()]
    if not frames:
        raise MediaError("no frames", "a folder without numbered images (00001.jpg, …)")
    inside = os.path.realpath(folder) + os.sep  # not Path.resolve, which fails on links in a circle
    if outside := [path for path in frames if path.is_symlink() and not os.path.realpath(path).startswith(inside)]:
        raise MediaError("unreadable", f"{outside[0].name} leads out of its folder")
    return sorted(frames, key=lambda path: (int(path.stem), path.name))


def folder_fps(folder: Path) -> float:
    """Frames per second of a frame folder.

    It stands in fps.txt; without that file it is FOLDER_FPS. Raises MediaError.
    """
    file = folder / "fps.txt"
    if not file.exists():
        return FOLDER_FPS
    try:
        fps = float(file.read_text(encoding="utf-8"))
    except ValueError:
        raise MediaError("no timestamps", f"{file} holds no number") from None
    if not 0 < fps < math.inf:
        raise MediaError("no timestamps", f"{file} holds {fps}, which is no frame rate")
    return fps


@contextmanager
def _damage_refused() -> Iterator[None]:
    """Raises MediaError for the errors of Pillow's readers about a damaged file.

    An error of the system has an errno and propagates as it is.
    """
    try:
        yield
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise MediaError("unreadable", str(error)) from None


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked below
        try:
            image = Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise MediaError("too large", str(error)) from None
    if image.width * image.height > MAX_PIXELS:
        raise MediaError("too large", f"{image.width}x{image.height} pixels")
    return image
