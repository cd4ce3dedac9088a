"""CPU time per clip: the frames stage, qwen-vl-utils, decoding alone.

    python -m speed.frame_extraction [CLIP...]

Without arguments it measures `video1.mp4` of VIDEO_R1_TESTDATA, where that is set, and a clip of 60 s at 1080p that
ffmpeg makes. The stage hashes the file, reads its packet table, decodes, resizes, describes and encodes 16 frames, with
transformers' kernel on bytes and with qwen-vl-utils' kernel on floats. `fetch_video` of qwen-vl-utils decodes with
decord and resizes on floats. It is rewritten here from version 0.0.14, because qwen-vl-utils needs torchvision, which
cannot be imported beside a CPU build of torch. The limit gives the decoder the packets that the frames need, and does
nothing with what comes out. All run in this process, five times in turn, and the fastest counts. The last line is JSON;
`growth_mb` is how much this process grows from the 20th to the 200th run on the first clip.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import decord
import ffmpeg
import imageio_ffmpeg
import numpy as np
import psutil
import torch
from torch.nn.functional import interpolate

from speed.arguments import parser
from stages.video.container import open_video, packets
from stages.video.decoder import Decoder
from stages.video.extract import Clip, row_of_clip
from stages.video.frame_store import frames_from_row
from stages.video.probe import media_sha256
from stages.video.resize import smart_resize
from stages.video.spec import FrameSpec
from stages.video.video_file import Video, read_video

log = logging.getLogger(__name__)

# Video-R1's own: fps 2 clamped to [4, 16], 128 * 28 * 28 pixels and 5 % more.
SPEC = FrameSpec(policy="fps", max_frames=16, min_pixels=100_352, max_pixels=105_369, factor=28, kernel="qwen-vl-utils")
ON_BYTES = SPEC.model_copy(update={"kernel": "transformers"})


def clip_of(path: Path) -> Clip:
    return Clip("key", path, media_sha256(path), "video", None, None)


def fetch_video(path: Path) -> tuple[torch.Tensor, list[int]]:
    """Frames [T, 3, H, W] float and their indices, as qwen-vl-utils does."""
    reader = decord.VideoReader(str(path))
    total, fps = len(reader), reader.get_avg_fps()
    lower, upper = -(-SPEC.min_frames // 2) * 2, min(SPEC.max_frames, total) // 2 * 2
    count = int(min(max(total / fps * SPEC.fps, lower), upper, total)) // 2 * 2
    indices = torch.linspace(0, total - 1, count).round().long().tolist()
    frames_TCHW = torch.tensor(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)
    _, _, height, width = frames_TCHW.shape
    height, width = smart_resize(height, width, SPEC.factor, SPEC.min_pixels, SPEC.max_pixels)
    resized_TCHW = interpolate(
        frames_TCHW.float(), size=(height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return resized_TCHW.clamp(0, 255).round().to(torch.uint8).float(), indices


def decode_only(video: Video, indices_T: np.ndarray) -> int:
    """Decode the packets that the frames at `indices_T` need.

    Returns how many frames come out.
    """
    needed_P = video.table.needed(indices_T)
    wanted = {int(video.table.pts_N[index]) for index in indices_T}
    with open_video(video.path) as (container, stream):
        decoder = Decoder(stream)
        read = zip(packets(container, stream), needed_P, strict=False)
        frames = [
            frame.pts
            for packet, needed in read
            if needed
            for frame in decoder(packet, skippable=packet.pts not in wanted)
        ]
        return len(frames) + len(decoder(None))


def compare(path: Path) -> dict[str, float]:
    """CPU milliseconds of each on one clip.

    Asserts that the stage and `fetch_video` take the same frames.
    """
    clip = clip_of(path)
    frames, (fetched_TCHW, indices) = frames_from_row(row_of_clip(clip, SPEC)), fetch_video(path)
    assert frames.indices_T.tolist() == indices
    error = np.abs(frames.frames_THWC.astype(float) - fetched_TCHW.permute(0, 2, 3, 1).numpy()).mean()
    assert error < 2, f"the frames differ by {error:.2f} levels in the mean"
    video = read_video(path)
    works: dict[str, Callable[[], object]] = {
        "stage_ms": partial(row_of_clip, clip, ON_BYTES),
        "stage_on_floats_ms": partial(row_of_clip, clip, SPEC),
        "fetch_video_ms": partial(fetch_video, path),
        "limit_ms": partial(decode_only, video, frames.indices_T),
    }
    rounds = [{name: _cpu_ms(work) for name, work in works.items()} for _ in range(5)]
    fastest = {name: min(each[name] for each in rounds) for name in works}
    return {
        **{name: round(ms) for name, ms in fastest.items()},
        "ratio": round(fastest["fetch_video_ms"] / fastest["stage_ms"], 2),
        "of_limit": round(fastest["limit_ms"] / fastest["stage_ms"], 2),
        "mean_difference": round(float(error), 2),
    }


def growth(path: Path) -> float:
    """Megabytes by which this process grows from run 20 to run 200."""
    process, after_20, clip = psutil.Process(), 0, clip_of(path)
    for number in range(1, 201):
        row_of_clip(clip, ON_BYTES)
        if number == 20:
            after_20 = process.memory_info().rss
    return (process.memory_info().rss - after_20) / 2**20


def make_clip(path: Path) -> Path:
    """A clip of 60 s at 1080p and 30 frames per second.

    It is encoded with x264's defaults. It shows ffmpeg's test picture under a little moving noise.
    """
    picture = ffmpeg.input("testsrc2=s=1920x1080:r=30:d=60", f="lavfi").filter("noise", alls=4, allf="t")
    picture.output(str(path), vcodec="libx264", pix_fmt="yuv420p").run(
        cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True, overwrite_output=True
    )
    return path


def _cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("clips", nargs="*", type=Path)
    chosen: list[Path] = arguments.parse_args().clips
    torch.set_num_threads(1)
    real = Path(os.environ.get("VIDEO_R1_TESTDATA", "../shared/data")) / "video" / "video1.mp4"
    with tempfile.TemporaryDirectory() as folder:
        clips = chosen or [*([real] if real.exists() else []), make_clip(Path(folder) / "made-1080p-60s.mp4")]
        compared: dict[str, dict[str, float]] = {}
        for clip in clips:
            compared[clip.name] = compare(clip)
            log.info("%s: %s", clip.name, ", ".join(f"{name} {number}" for name, number in compared[clip.name].items()))
        grown = round(growth(clips[0]), 1)
    log.info(json.dumps({**compared, "growth_mb": grown}))


if __name__ == "__main__":
    main()
