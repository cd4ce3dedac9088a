"""Drafts of samples → samples whose media exists, is what the record says, and is known by its hash."""

from collections.abc import Sequence
from pathlib import Path

from stages.data.sample import Reject, Sample
from stages.video.media import MediaError
from stages.video.probe import probe_many
from stages.video.workers import Limits


def check_media(drafts: Sequence[Sample | Reject], limits: Limits, stage: str) -> list[Sample | Reject]:
    """Probe each distinct file once: drafts get its SHA-256, or become rejects when it is not what the record says."""
    paths = sorted({draft.media_path for draft in drafts if isinstance(draft, Sample)})
    probed = probe_many([Path(path) for path in paths], limits.workers, limits.timeout_s, limits.memory_mb)
    infos = dict(zip(paths, probed, strict=True))

    def check(draft: Sample | Reject) -> Sample | Reject:
        if isinstance(draft, Reject):
            return draft
        info = infos[draft.media_path]
        if isinstance(info, MediaError):
            return Reject(sample_id=draft.sample_id, stage=stage, reason=info.reason, detail=f"{draft.media_path}: {info.detail}")
        if info.data_type != draft.data_type:
            detail = f"{draft.media_path} is a {info.data_type}, the record says {draft.data_type}"
            return Reject(sample_id=draft.sample_id, stage=stage, reason="wrong media type", detail=detail)
        return draft.model_copy(update={"media_sha256": info.sha256})

    return [check(draft) for draft in drafts]
