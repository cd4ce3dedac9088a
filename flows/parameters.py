"""Checks params.yaml before DVC or a stage uses it.

    python -m flows.parameters [--params params.yaml]

DVC puts values of params.yaml into the commands of dvc.yaml, which a shell runs. So each of these values has to be a
plain name. All values are then held against the parameter models of the stages, before the first stage starts. Source
folders may hold files alone: DVC would wait for ever on a named pipe.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from flows import dvc
from flows.checkout import find_checkout
from flows.errors import UsageError, one_line
from flows.source_files import refuse_special_files

TEMPLATE = re.compile(r"\$\{\s*([\w.-]+)")  # ${report.models} in dvc.yaml
PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./@+=-]*")
DEPTH = 20  # of nested sections and lists
CHECKER = Path("stages") / "check.py"


def load_yaml(text: str, name: str) -> JsonValue:
    """What a YAML text holds, which has to be plain data.

    Aliases and deep nesting are refused: a few lines with aliases can stand for gigabytes, or for a list that contains
    itself. UsageError with one line; `name` says what the text is.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        depth = 0
        for event in yaml.parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if isinstance(event, AliasEvent):
                raise UsageError(
                    f"{name}: line {event.start_mark.line + 1} has an alias (*{event.anchor}): write it out"
                )
            if depth > DEPTH:
                raise UsageError(f"{name}: sections and lists are nested more than {DEPTH} deep")
        return yaml.load(text)
    except (YAMLError, ValueError) as error:
        raise UsageError(f"{name} cannot be read: {' '.join(str(error).split())}") from error


def check_templates(home: Path, text: str, name: str) -> None:
    """Refuses values for dvc.yaml's templates that are no plain names."""
    params = load_yaml(text, name)
    for template in dict.fromkeys(TEMPLATE.findall((home / "dvc.yaml").read_text(encoding="utf-8"))):
        for value in leaves(lookup(params, template)):
            if isinstance(value, str) and not PLAIN.fullmatch(value):
                raise UsageError(
                    f"{name}: {template} holds {value!r}, and dvc.yaml puts it into a command: "
                    "use letters, digits and . _ - / only, with no blank"
                )


@cache  # a command line asks before its run, and the run asks again
def check_values(home: Path, texts: tuple[str, ...], name: str) -> None:
    """Holds texts of params files against the models of the stages.

    UsageError names every bad value. The models belong to the stages, so a program of theirs does it.
    """
    if not (home / CHECKER).is_file():
        return
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.yaml" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "stages.check", *(f"--params={file}" for file in files)]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr
        for file in files:
            said = said.replace(str(file), name)
        reasons = dict.fromkeys(
            line.removeprefix("check: ") for line in said.splitlines() if line.startswith("check: ")
        )
        raise UsageError("; ".join(reasons) or f"{name} could not be checked: {said.strip()}")


def lookup(params: JsonValue, template: str) -> JsonValue:
    """The value that a template stands for; None where params.yaml has none."""
    value = params
    for key in template.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def leaves(value: JsonValue) -> Iterator[JsonValue]:
    """All values in sections and lists, and the names of the sections."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks a params file; 0 when every value can be used."""
    parser = argparse.ArgumentParser("python -m flows.parameters", description="Check params.yaml before a run.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="file to check (default: %(default)s)")
    path: Path = parser.parse_args(arguments).params
    with one_line("parameters"):
        if not path.is_file():
            raise UsageError(f"{path} does not exist")
        home, text = find_checkout(Path.cwd()), path.read_text(encoding="utf-8")
        check_templates(home, text, str(path))
        check_values(home, (text,), str(path))
        for folder in dvc.source_folders(home):
            refuse_special_files(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
