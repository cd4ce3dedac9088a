"""The error that a person can fix."""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from flows.text import printable


class UsageError(Exception):
    """One clear line for the person who started the run."""


def nearest(name: str, names: Collection[str]) -> str:
    """`; nearest: …`, or nothing when no name is near."""
    return "".join(f"; nearest: {match}" for match in get_close_matches(name, names, n=1))


@contextmanager
def one_line(program: str) -> Iterator[None]:
    """Ends the process with one line when the block raises a UsageError.

    The line begins with `program`. The message may quote files, records and other programs.
    """
    try:
        yield
    except UsageError as error:
        sys.exit(f"{program}: {printable(' '.join(str(error).split()))}")
