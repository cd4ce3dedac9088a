"""Video-MME with subtitles: a run of its own on the same questions."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.data.sample import Reject, Sample, Unusable
from stages.data.special_tokens import check_special_tokens
from stages.evaluation.benchmarks import videomme
from stages.evaluation.definition import About, Benchmark
from stages.run.errors import UserError

LONGEST = 200_000  # characters; an hour of speech has some 60,000
_TIMES = re.compile(r"(\d+:\d+:\d+[,.]\d+) --> (\d+:\d+:\d+[,.]\d+).*")


def read(root: Path) -> Iterator[Sample | Reject]:
    """The questions of `videomme`; UserError when no `subtitle/*.srt` is there."""
    if not any((root / "subtitle").glob("*.srt")):
        raise UserError(
            f"{root / 'subtitle'}: no subtitles (*.srt) there; unpack the benchmark's subtitle archive, "
            "or evaluate videomme instead"
        )
    yield from videomme.read(root)


def with_subtitles(sample: Sample, pts_T: np.ndarray, root: Path) -> Sample:
    """The question after the subtitles that are on screen in its frames.

    The text is that of the benchmark's own prompt. The subtitles are in `subtitle/<videoID>.srt`. Without a file, or
    without a line in the frames, the question says that there are none. UserError for subtitles that no prompt can
    hold: too long, or with a special token of chat templates.
    """
    file = root / "subtitle" / f"{Path(sample.media_path).stem}.srt"
    spoken = read_srt(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else []
    shown = [text for start, end, text in spoken if ((pts_T >= start) & (pts_T <= end)).any()]
    said = "\n".join(shown) or "No subtitles available"
    try:
        check_special_tokens("the text", said)
    except Unusable as error:
        raise UserError(f"{file}: {error.detail}; correct the file or take it out") from None
    if len(said) > LONGEST:
        raise UserError(f"{file}: more than {LONGEST:,} characters in the frames; correct the file or take it out")
    return sample.model_copy(update={"problem": f"This video's subtitles are listed below:\n{said}\n{sample.problem}"})


def read_srt(text: str) -> list[tuple[float, float, str]]:
    """(start, end, line) of each block of a SubRip file, in seconds.

    Blocks without a time are skipped. Markup is removed.
    """
    lines = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        if times := _TIMES.search(block):
            start, end = (hours * 3600 + minutes * 60 + seconds for hours, minutes, seconds in _clocks(times))
            lines.append((start, end, " ".join(re.sub(r"<[^>]*>", "", block[times.end() :]).split())))
    return lines


def _clocks(times: re.Match[str]) -> Iterator[tuple[float, float, float]]:
    for group in (1, 2):
        hours, minutes, seconds = times.group(group).replace(",", ".").split(":")
        yield float(hours), float(minutes), float(seconds)


ABOUT = About(
    questions=2700,
    metric="accuracy, with the subtitles of the shown frames",
    hub=("lmms-lab/Video-MME",),
    checked="reader: records and subtitles made to the official layout",
)
BENCHMARK = Benchmark(about=ABOUT, read=read, finish=with_subtitles)
