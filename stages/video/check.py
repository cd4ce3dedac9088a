"""Drafts of samples → samples whose media exists, is what the record says, and is known by its hash."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import pyarrow as pa

from stages.data.sample import Reject, Sample
from stages.video.media import MediaError, MediaInfo
from stages.video.probe import probe
from stages.video.workers import Limits, Sandbox

log = logging.getLogger(__name__)

WINDOW = 4096  # drafts that are held at a time

MEDIA_SCHEMA = pa.schema(
    [
        ("media_path", pa.string()),
        ("sha256", pa.string()),
        ("data_type", pa.string()),
        ("n_frames", pa.int64()),
        ("duration", pa.float64()),
        ("fps", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("codec", pa.string()),
        ("n_streams", pa.int32()),
        ("has_cover", pa.bool_()),
    ]
)


class MediaCheck(AbstractContextManager["MediaCheck"]):
    """Probes each distinct file once, in sandboxed processes, however many drafts ask about it.

    `found`, where given, gets the path and the facts of every usable file, in the order in which they are met.
    """

    def __init__(self, limits: Limits, stage: str, found: Callable[[str, MediaInfo], None] | None = None) -> None:
        self._sandbox = Sandbox(limits)
        self._stage = stage
        self._found = found
        self._known: dict[str, MediaInfo | MediaError] = {}

    def __exit__(self, *error: object) -> None:
        self._sandbox.__exit__(*error)

    def __call__(self, drafts: Iterable[Sample | Reject]) -> Iterator[Sample | Reject]:
        """The drafts in order, with their SHA-256, or as rejects when their media is not what the record says; in constant memory
        but for what is known of the files."""
        remaining = iter(drafts)
        seen = 0
        while window := list(islice(remaining, WINDOW)):
            self._probe(dict.fromkeys(draft.media_path for draft in window if isinstance(draft, Sample)))
            yield from map(self._checked, window)
            seen += len(window)
            if len(window) == WINDOW:
                log.info("%d records so far", seen)

    def _probe(self, paths: Iterable[str]) -> None:
        new = [path for path in paths if path not in self._known]
        for path, info in zip(new, self._sandbox.map(probe, map(Path, new), Path), strict=True):
            self._known[path] = info
            if self._found and isinstance(info, MediaInfo):
                self._found(path, info)

    def _checked(self, draft: Sample | Reject) -> Sample | Reject:
        if isinstance(draft, Reject):
            return draft
        info = self._known[draft.media_path]
        if isinstance(info, MediaError):
            return self._reject(draft, info.reason, f"{draft.media_path}: {info.detail}")
        if info.data_type != draft.data_type:
            return self._reject(
                draft,
                "wrong media type",
                f"{draft.media_path} is a {info.data_type}, the record says {draft.data_type}",
            )
        if draft.clip_start and draft.clip_start >= info.duration:
            detail = f"{draft.media_path} ends at {info.duration:.3f} s, the clip starts at {draft.clip_start} s"
            return self._reject(draft, "empty clip", detail)
        return draft.model_copy(update={"media_sha256": info.sha256})

    def _reject(self, draft: Sample, reason: str, detail: str) -> Reject:
        return Reject(sample_id=draft.sample_id, stage=self._stage, reason=reason, detail=detail)
