"""What the processes of one run tell each other.

stages/model/peers.py fills this in for trainings of several processes.
"""

from typing import Protocol


class Others(Protocol):
    """The other processes of a run."""

    def tell(self, line: str) -> None:
        """Say why this process ends."""

    def explain(self) -> None:
        """Wait a few seconds for word that another process is lost.

        Then that is the reason of an error here: the process ends with one line, and the call does not return.
        """


_others: list[Others] = []


def join(others: Others) -> None:
    """From now on this process is one of several."""
    _others.append(others)


def tell(line: str) -> None:
    """Tell the other processes, if any, why this one ends."""
    for others in _others:
        others.tell(line)


def explain() -> None:
    """End here if another process is lost."""
    for others in _others:
        others.explain()
