"""The first answers of a run show whether the request is right."""

from collections import Counter

from stages.data.annotations import AnnotationRow

COUNT = 32
"""So many answers are looked at."""
EXAMPLES = 3
LONGEST_EXAMPLE = 200  # characters


class FirstAnswers:
    """Looks at the first answers, from the store or from the server.

    When nearly all of them are malformed, truncated or refused, the others would be too: nothing more should be paid.
    """

    def __init__(self, max_unusable: float) -> None:
        """A share of unusable answers above `max_unusable` stops the run."""
        self._max_unusable = max_unusable
        self._seen = 0
        self._unusable: list[AnnotationRow] = []

    @property
    def are_wanted(self) -> bool:
        """Whether more answers are looked at."""
        return self._seen < COUNT

    @property
    def are_useless(self) -> bool:
        """Whether too many are unusable; False while too few have been seen."""
        return not self.are_wanted and len(self._unusable) > self._max_unusable * COUNT

    def add(self, row: AnnotationRow) -> None:
        """Look at one more answer."""
        if self.are_wanted and row["status"] != "failed":
            self._seen += 1
            if row["status"] != "ok":
                self._unusable.append(row)

    def message(self) -> str:
        """The counts and three examples, in one line."""
        counts = Counter(row["status"] for row in self._unusable)
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        examples = "; ".join(_example(row) for row in self._unusable[:EXAMPLES])
        return f"{len(self._unusable)} of the first {COUNT} answers are of no use ({kinds}): {examples}"


def _example(row: AnnotationRow) -> str:
    words = " ".join(row["text"].split()) or row["detail"]
    shown = (
        words
        if len(words) <= LONGEST_EXAMPLE
        else f"{words[: LONGEST_EXAMPLE // 2]} … {words[-LONGEST_EXAMPLE // 2 :]}"
    )
    return f"{row['sample_id']} {row['status']}: '{shown}'"
