"""The rule against samples of a benchmark (13-gram decontamination as in GPT-3)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from stages.curation.params import ContaminationMode
from stages.curation.text import ngrams, words
from stages.data.sample import Sample, iterate_samples
from stages.run.errors import UserError

CONTAMINATION_GRAM = 13


class Contamination:
    """Media or text that a benchmark has too.

    Text is 13 words of question and options in a row. Media is the same file, or shows the same frames. The mode says
    whether a sample is dropped for either of the two or only for both.
    """

    def __init__(self, benchmarks: Mapping[str, Iterable[Sample]], mode: ContaminationMode) -> None:
        self._both = mode == "media and text"
        self._media: dict[str, str] = {}
        self._grams: dict[tuple[str, ...], str] = {}
        for name, samples in benchmarks.items():
            for sample in samples:
                self._media.setdefault(sample.media_sha256, name)
                self._grams.update(dict.fromkeys(_grams(sample), name))

    def __call__(self, sample: Sample, benchmark_with_frames: Callable[[], str | None] = lambda: None) -> str | None:
        """What the sample shares with which benchmark, or None.

        `benchmark_with_frames` names the benchmark that shows the sample's frames. It is slow, so it is called only
        where its result decides.
        """
        text = self._shared_text(sample)
        if self._both and not text:
            return None
        media = f"media of {self._media[sample.media_sha256]}" if sample.media_sha256 in self._media else None
        decides = self._both or not text
        if not media and decides and (name := benchmark_with_frames()):
            media = f"frames of {name}"
        found = [part for part in (media, text) if part]
        return "; ".join(found) if len(found) >= (2 if self._both else 1) else None

    def _shared_text(self, sample: Sample) -> str | None:
        for gram in _grams(sample):
            if gram in self._grams:
                return f"text of {self._grams[gram]}: {' '.join(gram)}"
        return None


def read_held_out(place: Path) -> tuple[dict[str, Iterable[Sample]], list[Path]]:
    """The questions of the benchmarks by name, and their folders.

    `place` is a table of which the split test is held out, the folder of one benchmark, or a folder of several. A
    table has no frames. UserError when no benchmark is there.
    """
    if place.is_file():
        return {place.name: (sample for sample in iterate_samples(place) if sample.split == "test")}, []
    folders = [table.parent for table in sorted([*place.glob("samples.parquet"), *place.glob("*/samples.parquet")])]
    if not folders:
        raise UserError(
            f"filter.held_out: no benchmark in {place}; run the benchmark stage, or name another folder or table"
        )
    return {folder.name: iterate_samples(folder / "samples.parquet") for folder in folders}, folders


def _grams(sample: Sample) -> list[tuple[str, ...]]:
    """The 13-grams of question and options; a shorter text is one gram."""
    asked = words(f"{sample.problem} {' '.join(sample.options)}")
    return ngrams(asked, min(CONTAMINATION_GRAM, len(asked)))
