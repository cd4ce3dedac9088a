"""The checkout that a flow works on, and the locks in it."""

from collections.abc import Iterator
from pathlib import Path

from flows.errors import UsageError


def find_checkout(start: Path) -> Path:
    """The folder of the project that `start` lies in.

    It is the nearest one with dvc.yaml and .dvc. UsageError when there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / ".dvc").is_dir():
            return folder
    raise UsageError(
        f"no checkout at {start}: no folder from there up holds dvc.yaml and .dvc; go to the project's folder"
    )


def checkout_lock(home: Path) -> Path:
    """The lock that a run holds while it works on the checkout."""
    return home / ".dvc" / "tmp" / "flow.lock"


def worktrees(home: Path) -> Path:
    """The folder of the experiments, where neither git nor DVC looks."""
    return home / ".dvc" / "tmp" / "worktrees"


def run_locks(home: Path) -> Iterator[Path]:
    """All locks that a run has ever held in this checkout."""
    if checkout_lock(home).exists():
        yield checkout_lock(home)
    yield from worktrees(home).glob("*.lock")
