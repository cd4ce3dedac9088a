"""The command line of an experiment: the runs that its table lacks."""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from experiments.evidence import PROJECT

RunT = TypeVar("RunT")
RowT = TypeVar("RowT")

log = logging.getLogger(__name__)


def commit() -> str:
    """The commit of this checkout, for a row."""
    return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT, text=True).strip()


def finished(table: Path) -> list[Any]:
    """The rows of a table, one JSON object a line.

    None without the file.
    """
    return [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()] if table.exists() else []


def perform_planned(
    about: str,
    table: Path,
    planned: Sequence[RunT],
    run_of: Callable[[RowT], RunT],
    perform: Callable[[Path, RunT], RowT],
    tables: Callable[[list[RowT]], str],
) -> None:
    """Perform the planned runs that the table lacks; print its tables.

    `perform` gets the folder of the embedded pipeline's outputs and a run. Each row is written once its run has ended.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--root", type=Path, default=PROJECT, help="a checkout with the embedded pipeline's outputs")
    parser.add_argument("--table", type=Path, default=table, help="one row for each run (default: %(default)s)")
    parser.add_argument("--runs", type=int, help="how many runs to add at most; 0 prints the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    done = {run_of(row) for row in finished(chosen.table)}
    for run in [run for run in planned if run not in done][: chosen.runs]:
        row = perform(chosen.root.resolve(), run)
        with open(chosen.table, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s: finished", run)
    sys.stdout.write(tables(finished(chosen.table)) + "\n")
