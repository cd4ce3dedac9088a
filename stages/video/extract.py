"""Media → frames in the store, one sandboxed process per core."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
from pydantic import Field

from stages.data.sample import DataType, Reject, Sample
from stages.data.shards import ShardStore
from stages.run.addresses import Place, place_of
from stages.run.files import write_table
from stages.run.object_cache import local_file
from stages.run.progress import progress_bar
from stages.video.decode import decode
from stages.video.decord_backend import decode_with_decord
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameRow, Frames, RefusedRow
from stages.video.media import MediaError
from stages.video.picture import folder_fps, folder_frames, read_image
from stages.video.probe import media_sha256
from stages.video.resize import Kernel, resize, smart_resize
from stages.video.spec import FrameSpec
from stages.video.video_file import read_video
from stages.video.workers import Limits, Sandbox

log = logging.getLogger(__name__)


class ExtractParams(FrameSpec):
    """A frame spec, and limits on the work of taking frames."""

    workers: int = Field(default=0, ge=0, description="decoding processes; 0 means one per core")
    timeout_s: float = Field(default=120, gt=0, description="seconds that one media file may take")
    memory_mb: int = Field(default=2048, ge=128, description="megabytes that one decoding process may allocate")
    max_rejected: float = Field(
        ge=0, le=1, description="share of the samples, 0 to 1; the stage stops when more have unusable media"
    )

    @property
    def spec(self) -> FrameSpec:
        """The frame spec alone.

        A worker process can import its class. It cannot import the class of a stage that runs as a command.
        """
        return FrameSpec(**self.model_dump(include=set(FrameSpec.model_fields)))

    @property
    def limits(self) -> Limits:
        return Limits(self.workers, self.timeout_s, self.memory_mb)


@dataclass(frozen=True)
class Clip:
    """What one row of the store is made from.

    start and end are seconds from the first frame, None for the whole.
    """

    key: str
    place: Place
    sha256: str
    data_type: DataType
    start: float | None
    end: float | None


def extract(
    samples: Iterable[Sample], params: ExtractParams, store: Path, frame_keys: Path, stage: str
) -> list[Reject]:
    """Bring the frames of all samples into the store.

    Clips whose key the store has are not decoded again. New rows are appended in the order of the samples, so equal
    inputs give equal shards. A clip that cannot be used gets a row with the reason, unless the next try may end
    better. The table `frame_keys` says which row belongs to which sample. Returns one reject per sample whose media
    cannot be used.
    """
    clips = {sample.sample_id: _clip(sample, params) for sample in samples}
    frames = ShardStore(store, SCHEMA)
    new = list({clip.key: clip for clip in clips.values() if clip.key not in frames}.values())
    log.info("%d of %d clips are new", len(new), len({clip.key for clip in clips.values()}))
    lost: dict[str, MediaError] = {}
    frames.append(_rows(new, params, lost))
    refused = lost | _refusals(frames, {clip.key for clip in clips.values()} - lost.keys())

    kept = [
        {"sample_id": sample_id, "frame_key": clip.key} for sample_id, clip in clips.items() if clip.key not in refused
    ]
    write_table(frame_keys, kept, FRAME_KEYS_SCHEMA)
    return [
        Reject(
            sample_id=sample_id,
            stage=stage,
            reason=refused[clip.key].reason,
            detail=f"{clip.place}: {refused[clip.key].detail}",
        )
        for sample_id, clip in clips.items()
        if clip.key in refused
    ]


def _rows(clips: Sequence[Clip], params: ExtractParams, lost: dict[str, MediaError]) -> Iterator[FrameRow | RefusedRow]:
    """Rows of the clips, with their frames or with a reason.

    Clips that the next run should try again go to `lost`.
    """
    with Sandbox(params.limits) as sandbox:
        results = sandbox.map(partial(row_of_clip, spec=params.spec), clips, attrgetter("place"))
        for clip, result in zip(clips, progress_bar(results, total=len(clips), unit="clip"), strict=True):
            if not isinstance(result, MediaError):
                yield result
            elif result.lasts:
                yield {"key": clip.key, "refused": result.reason, "detail": result.detail}
            else:
                lost[clip.key] = result


def _refusals(frames: ShardStore, keys: Collection[str]) -> dict[str, MediaError]:
    """Why clips are unusable that the store has as such, by key."""
    rows = frames.columns(keys, ["refused", "detail"])
    return {key: MediaError(row["refused"], row["detail"]) for key, row in rows if row["refused"] is not None}


def row_of_clip(clip: Clip, spec: FrameSpec) -> FrameRow:
    """One clip's row of the store.

    Raises MediaError as `take_frames` does, or ObjectError.
    """
    with local_file(clip.place, clip.sha256) as local:
        return row_from_frames(clip.key, take_frames(clip, local.path, spec), spec.jpeg_quality)


def take_frames(clip: Clip, path: Path, spec: FrameSpec) -> Frames:
    """The sampled and resized frames of one clip, from its local file.

    Raises MediaError, also when the file is not the one that was ingested.
    """
    if not path.exists():
        raise MediaError("missing", "the file is gone")
    if not _is_as_ingested(clip, path):
        raise MediaError("changed", "the file is not the one that was ingested; run ingest again")
    if clip.data_type == "image":
        picture_1HWC = _fitted(read_image(path)[None], None, spec.max_pixels, spec, "pillow")
        return Frames(picture_1HWC, indices_T=np.zeros(1, dtype=np.int64), pts_T=np.zeros(1), source_fps=0.0)
    if path.is_dir():
        return _folder_frames(clip, path, spec)
    return _decord_frames(clip, path, spec) if spec.decoder == "decord" else _video_frames(clip, path, spec)


def _is_as_ingested(clip: Clip, path: Path) -> bool:
    try:
        return media_sha256(path) == clip.sha256
    except MediaError:  # the folder of frames has lost its frames
        return False


def _video_frames(clip: Clip, path: Path, spec: FrameSpec) -> Frames:
    video = read_video(path)
    seconds_N, fps = video.table.seconds_N, video.table.fps
    indices_T = _choose(seconds_N, fps, clip, spec)
    most = spec.most_pixels(len(indices_T))
    convert = partial(_fitted, shown=video.geometry.shown, most=most, spec=spec, kernel=spec.kernel)
    pictures = decode(video, indices_T, convert, spec.max_corrupt)
    return Frames(np.stack(pictures), indices_T, seconds_N[indices_T], fps, video.table.count_keyframes(indices_T))


def _decord_frames(clip: Clip, path: Path, spec: FrameSpec) -> Frames:
    def convert(frames_THWC: np.ndarray) -> np.ndarray:
        return _fitted(frames_THWC, None, spec.most_pixels(len(frames_THWC)), spec, spec.kernel)

    return Frames(*decode_with_decord(path, partial(_choose, clip=clip, spec=spec), convert))


def _folder_frames(clip: Clip, path: Path, spec: FrameSpec) -> Frames:
    files, fps = folder_frames(path), folder_fps(path)
    seconds_N = np.arange(len(files)) / fps
    indices_T = _choose(seconds_N, fps, clip, spec)
    shown, most = read_image(files[0]).shape[:2], spec.most_pixels(len(indices_T))
    pictures = [_fitted(read_image(files[index])[None], shown, most, spec, spec.kernel) for index in indices_T]
    return Frames(np.concatenate(pictures), indices_T, seconds_N[indices_T], fps)


def _choose(seconds_N: np.ndarray, fps: float, clip: Clip, spec: FrameSpec) -> np.ndarray:
    """Indices of the frames to take, between the clip's bounds (included)."""
    first = 0 if clip.start is None else int(np.searchsorted(seconds_N, clip.start, side="left"))
    last = len(seconds_N) if clip.end is None else int(np.searchsorted(seconds_N, clip.end, side="right"))
    if first >= last:
        raise MediaError("empty clip", f"no frame between {clip.start} and {clip.end} s of {seconds_N[-1]:.3f} s")
    return first + spec.sample(last - first, fps)


def _fitted(
    frames_THWC: np.ndarray, shown: tuple[int, int] | None, most: int, spec: FrameSpec, kernel: Kernel
) -> np.ndarray:
    """The frames at the size at which the model sees them.

    `shown` is their height and width on a screen; None means that their pixels are square. `most` is the most pixels
    of each.
    """
    try:
        shown_height, shown_width = shown or frames_THWC.shape[1:3]
        height, width = smart_resize(shown_height, shown_width, spec.factor, spec.min_pixels, most)
    except ValueError as error:
        raise MediaError("aspect ratio", str(error)) from None
    return resize(frames_THWC, height, width, kernel)


def _clip(sample: Sample, spec: FrameSpec) -> Clip:
    key = spec.key(sample.media_sha256, sample.clip_start, sample.clip_end)
    place = place_of(sample.media_path)
    return Clip(key, place, sample.media_sha256, sample.data_type, sample.clip_start, sample.clip_end)
