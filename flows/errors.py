"""The error that a person can fix."""

from collections.abc import Collection
from difflib import get_close_matches


class UsageError(Exception):
    """One clear line for the person who started the run."""


def nearest(name: str, names: Collection[str]) -> str:
    """`; nearest: …`, or nothing when no name is near."""
    return "".join(f"; nearest: {match}" for match in get_close_matches(name, names, n=1))
