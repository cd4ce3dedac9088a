"""Check parameters against the models of all stages before any starts.

    python -m stages.check [--params params.yaml]

A run of many hours should not end at a typing error in the section of a late stage. Each bad value is
one line; the exit code is 1.
"""

import argparse
import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_type_hints

from stages.run.errors import UserError
from stages.run.log import escaped
from stages.run.params import Params, load_params, read_sections

HERE = Path(__file__).parent
DEFAULTS = "defaults"  # of a section with items: their common values


def problems(path: Path) -> list[str]:
    """One line for each section with values that its stage refuses."""
    try:
        sections = read_sections(path)
    except UserError as error:
        return [str(error)]
    found: list[str] = []
    for section, values in sections.items():
        name = str(section)
        try:
            if not name.isidentifier() or not (HERE / f"{name}.py").is_file():
                raise UserError(f"{path}: no stage has a section '{name}'; correct its name or remove it")
            for item in items_of(values):
                load_params(model_of(name), name, path, item)
        except UserError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))


def items_of(values: object) -> Iterator[str | None]:
    """The items of a section with `defaults`; None for a plain section."""
    if isinstance(values, dict) and DEFAULTS in values:
        yield from (str(item) for item in values)
    else:
        yield None


def model_of(stage: str) -> type[Params]:
    """The parameter model of a stage.

    The type of the first argument of its `run`.
    """
    run = importlib.import_module(f"stages.{stage}").run
    return get_type_hints(run)[next(iter(inspect.signature(run).parameters))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the problems of a file; 0 when there is none."""
    parser = argparse.ArgumentParser("python -m stages.check", description="Check a file of parameters.")
    parser.add_argument(
        "--params", type=Path, action="append", metavar="FILE", help="repeatable (default: params.yaml)"
    )
    files = parser.parse_args(arguments).params or [Path("params.yaml")]
    found = [problem for file in files for problem in problems(file)]
    for line in found:
        sys.stderr.write(f"check: {escaped(line)}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
