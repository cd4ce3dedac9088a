"""`make graph`: the stages, their state, and what each reads from.

python -m flows.overview
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import networkx

from flows import dvc
from flows.checkout import find_checkout
from flows.errors import one_line
from flows.graph import Snapshot, with_downstream


def overview(now: Snapshot) -> str:
    """A line for each stage of dvc.yaml, upstream first.

    A matrix stage has one line for all its items. An arrow that follows from other arrows is left out.
    """
    order = list(dict.fromkeys(stage.group for stage in now.stages))
    group_of = {stage.name: stage.group for stage in now.stages}
    edges = {(group_of[name], stage.group) for stage in now.stages for name in stage.upstream}
    graph = networkx.transitive_reduction(networkx.DiGraph([edge for edge in edges if edge[0] != edge[1]]))
    stale = with_downstream(now.stages, now.changed)
    lines = []
    for group in order:
        items = [stage for stage in now.stages if stage.group == group]
        states = [state_of(stage.name, now.changed, stale) for stage in items]
        counted = [f"{states.count(state)} {state}" if len(items) > 1 else state for state in dict.fromkeys(states)]
        needs = sorted(graph.predecessors(group), key=order.index) if group in graph else []
        lines.append(f"{group:10} {', '.join(counted):30} {'← ' if needs else ''}{', '.join(needs)}".rstrip())
    return "\n".join(lines)


def state_of(stage: str, changed: set[str], stale: set[str]) -> str:
    """Whether `dvc repro` would run the stage.

    A stage after a changed one is passed over when its inputs come out equal.
    """
    if stage in changed:
        return "changed"
    return "after a change" if stage in stale else "up to date"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the lines."""
    argparse.ArgumentParser(
        "python -m flows.overview", description="Print the stages, their state and what each one reads from."
    ).parse_args(arguments)
    with one_line("overview"):
        print(overview(dvc.snapshot(find_checkout(Path.cwd()))))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
