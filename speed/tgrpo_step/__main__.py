"""The command line of the comparison."""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from speed.tgrpo_step.cases import CASES, write_model
from speed.tgrpo_step.compare import Way, compare, report, result
from speed.tgrpo_step.cost import GIVING_BACK, Phase
from speed.tgrpo_step.growth import sweep

log = logging.getLogger(__name__)


def main() -> None:
    """Run the cases and print their figures."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(description="One T-GRPO step against the released code's way.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all but quick)")
    parser.add_argument(
        "--growth", action="store_true", help="check the cost model instead: this project's step as G, P and C grow"
    )
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = arguments.cases or [name for name in CASES if name != "quick"]
    if unknown := set(chosen) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        if arguments.growth:
            log.info(json.dumps(sweep(Path(folder))))
            return
        compared = {name: compare(Path(folder), CASES[name]) for name in chosen}
    if arguments.only_memory:
        found = {name: {"here": each.here.megabytes, "there": each.there.megabytes} for name, each in compared.items()}
        log.info(json.dumps(found))
        return
    megabytes = measured_memory(chosen)
    results = {name: result(CASES[name], compared[name], megabytes[name]) for name in chosen}
    for name, figures in results.items():
        report(name, figures)
    log.info(json.dumps(results))


def measured_memory(cases: Sequence[str]) -> dict[str, dict[Way, dict[Phase, float]]]:
    """Peak megabytes, from a process whose malloc gives larger blocks back."""
    command = [sys.executable, "-m", "speed.tgrpo_step", "--only-memory", *cases]
    child = subprocess.run(command, env=os.environ | GIVING_BACK, stderr=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stderr.splitlines()[-1])


if __name__ == "__main__":
    main()
