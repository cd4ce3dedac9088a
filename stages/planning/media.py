"""Sizes of questions: measured on frames, or the largest that parameters allow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.data.sample import Sample, read_samples
from stages.planning.size import ModelSize
from stages.planning.work import Shape
from stages.run.errors import UserError
from stages.video.frame_store import FrameReader
from stages.video.spec import FrameSpec

MEASURED_SAMPLES = 200


@dataclass(frozen=True)
class Media:
    """Vision tokens and temporal steps of questions, and the share of videos.

    `visual` and `grids` are averages, `most_visual` and `most_grids` the largest, `least_visual` is the smallest.
    """

    visual: float
    grids: float
    most_visual: float
    most_grids: float
    videos: float
    least_visual: float

    def shape(self, text: int, completion: int) -> Shape:
        """The shape of an average question."""
        return Shape(self.visual + text, self.visual, self.grids, completion)

    def largest(self, text: int, completion: int) -> Shape:
        """The shape of the largest question."""
        return Shape(self.most_visual + text, self.most_visual, self.most_grids, completion)

    def smallest(self, text: int, completion: int) -> Shape:
        """The shape of the smallest question."""
        return Shape(self.least_visual + text, self.least_visual, 1, completion)

    def of_frames(self, share: float) -> "Media":
        """The media with that share of their frames."""
        return Media(
            self.visual * share,
            self.grids * share,
            self.most_visual * share,
            self.most_grids * share,
            self.videos,
            self.least_visual * share,
        )


def largest_media(spec: FrameSpec, size: ModelSize) -> Media:
    """Videos with the most frames and pixels that the parameters allow."""
    grids = math.ceil(spec.max_frames / size.temporal)
    visual = grids * spec.most_pixels(spec.max_frames) // (size.patch * size.merge) ** 2
    return Media(visual, grids, visual, grids, videos=1.0, least_visual=visual)


def less_video(spec: FrameSpec, divisor: int) -> str:
    """The parameter that divides the visual tokens of the largest clips."""
    if spec.total_pixels is not None and spec.most_pixels(spec.max_frames) < spec.max_pixels:
        return f"frames.total_pixels {spec.total_pixels // divisor} (smaller frames)"
    return f"frames.max_frames {spec.max_frames // divisor} (fewer frames)"


def stored_media(samples: Sequence[Sample], reader: FrameReader, size: ModelSize) -> Media:
    """Media measured on evenly chosen samples, all of which must have frames."""
    chosen = samples[:: max(1, len(samples) // MEASURED_SAMPLES)]
    grids, visual = [], []
    for sample in chosen:
        shape = reader.shape(sample.sample_id)
        per_grid = shape.width * shape.height / (size.patch * size.merge) ** 2
        grids.append(math.ceil(shape.count / size.temporal))
        visual.append(grids[-1] * per_grid)
    videos = sum(sample.data_type == "video" for sample in samples) / len(samples)
    return Media(sum(visual) / len(visual), sum(grids) / len(grids), max(visual), max(grids), videos, min(visual))


def training_media(data: Path, file: str, spec: FrameSpec, size: ModelSize) -> tuple[Media, int | None]:
    """The media of a training set, and its number of samples.

    Before the set exists these are the largest media and None. UserError when no sample has frames.
    """
    paths = [data / file, data / "frames.parquet", data / "frames"]
    if not all(path.exists() for path in paths):
        return largest_media(spec, size), None
    reader = FrameReader(data / "frames", data / "frames.parquet")
    with_frames = set(reader.sample_ids)
    samples = [sample for sample in read_samples(paths[0]) if sample.sample_id in with_frames]
    if not samples:
        raise UserError(f"{paths[0]}: no sample has frames; run the frames stage")
    return stored_media(samples, reader, size), len(samples)
