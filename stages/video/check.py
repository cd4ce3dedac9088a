"""Checks that the media of samples is what their records say."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice

from stages.data.object_table import ObjectRow
from stages.data.sample import Reject, Sample
from stages.run.addresses import place_of
from stages.video.media import MediaError, MediaInfo
from stages.video.probe import probe_medium
from stages.video.workers import Limits, Sandbox

log = logging.getLogger(__name__)

WINDOW = 4096  # drafts that are held at a time


class MediaCheck(AbstractContextManager["MediaCheck"]):
    """Checks drafts of samples, and probes each file once, in sandboxed processes."""

    def __init__(self, limits: Limits, stage: str) -> None:
        self._sandbox = Sandbox(limits)
        self._stage = stage
        self._known: dict[str, MediaInfo | MediaError] = {}

    def __exit__(self, *error: object) -> None:
        self._sandbox.__exit__(*error)

    @property
    def objects(self) -> list[ObjectRow]:
        """The objects that were read so far, in their order."""
        return [
            {"address": path, "etag": info.version.etag, "size": info.version.size, "sha256": info.sha256}
            for path, info in self._known.items()
            if isinstance(info, MediaInfo) and info.version
        ]

    def __call__(self, drafts: Iterable[Sample | Reject]) -> Iterator[Sample | Reject]:
        """The drafts in order, with their media's hash, or as rejects.

        It holds WINDOW drafts and what is known of every file so far.
        """
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
        self._known.update(zip(new, self._sandbox.map(probe_medium, new, place_of), strict=True))

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
                f"{draft.media_path} is of type {info.data_type}, the record says {draft.data_type}",
            )
        if draft.clip_start and draft.clip_start >= info.duration:
            detail = f"{draft.media_path} ends at {info.duration:.3f} s, the clip starts at {draft.clip_start} s"
            return self._reject(draft, "empty clip", detail)
        return draft.model_copy(update={"media_sha256": info.sha256})

    def _reject(self, draft: Sample, reason: str, detail: str) -> Reject:
        return Reject(sample_id=draft.sample_id, stage=self._stage, reason=reason, detail=detail)
