"""Progress of long work.

A terminal shows a bar, a program gets lines, otherwise nothing is written.
"""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

VARIABLE = "VIDEO_R1_PROGRESS"
SECONDS = 2.0
STATE = "{n_fmt}/{total_fmt} {unit}, {remaining} left, {elapsed} elapsed{postfix}"


def progress_bar(
    items: Iterable[Any] | None = None, *, unit: str, total: int | None = None, initial: int = 0, hidden: bool = False
) -> "tqdm[Any]":
    """A tqdm bar over `items`, or a bar to update by hand.

    With VIDEO_R1_PROGRESS=MARK in the environment, the bar writes a line to stderr every two seconds and at its end:
    `MARK: 405/900 step, 00:37 left, 00:30 elapsed, loss=0.31`. A mark that nobody can guess tells such a line from text
    of records.
    """
    if mark := os.environ.get(VARIABLE):
        line = f"{mark}: {STATE}"
        return LineBar(
            items, unit=unit, total=total, initial=initial, disable=hidden, mininterval=SECONDS, bar_format=line
        )
    return tqdm(items, unit=unit, total=total, initial=initial, disable=hidden or None)


class LineBar(tqdm):
    """A bar whose states are lines of their own."""

    @staticmethod
    def status_printer(file: "SupportsWrite[str]") -> Callable[[str], None]:
        """The function with which tqdm writes a state of the bar."""
        return lambda text: print(text, file=file)
