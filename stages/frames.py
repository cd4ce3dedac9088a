"""Samples' media → sampled, resized frames in the frame store."""

import logging
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from stages.data.sample import iterate_samples, limit_rejects, write_rejects
from stages.run.command import command
from stages.run.files import write_json
from stages.video.clips import write_clips
from stages.video.extract import ExtractParams, extract

log = logging.getLogger(__name__)


class FramesParams(ExtractParams):
    """What the training sets' frames look like; see FrameSpec."""


def run(
    params: FramesParams, samples: Path, frame_store: Path, frame_keys: Path, clips: Path, rejects: Path, metrics: Path
) -> None:
    """Add the missing frames to the frame store.

    Also writes the table of each sample's frame key, the table of clips, the rejects and the metrics. Raises
    UserError when no sample has usable media, or when more than the share `max_rejected` has none.
    """
    refused = extract(iterate_samples(samples), params, frame_store, frame_keys, stage="frames")
    write_rejects(rejects, refused)
    clip_counts = write_clips(iterate_samples(samples), frame_store, frame_keys, clips)

    kept = pq.read_metadata(frame_keys).num_rows
    reasons = dict(sorted(Counter(reject.reason for reject in refused).items()))
    counts = {"samples": kept + len(refused), "kept": kept, "rejected": len(refused), "reasons": reasons}
    write_json(metrics, {**counts, **clip_counts})
    for reject in refused[:20]:
        log.warning("%s: %s: %s", reject.sample_id, reject.reason, reject.detail)
    log.info("frames of %d samples in %s, %d refused → %s", kept, frame_store, len(refused), rejects)
    limit_rejects(len(refused), kept, params.max_rejected, "frames.max_rejected", "samples", rejects)


if __name__ == "__main__":
    command(run)
