"""The command line that all stages share: `if __name__ == "__main__": command(run)`."""

import argparse
import errno
import inspect
import logging
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from safetensors import SafetensorError

from stages.run import log, others
from stages.run.code import changed_files, hash_files, loaded_files, shortened, store_copy
from stages.run.errors import UserError
from stages.run.files import FULL
from stages.run.params import Params, load_params
from stages.run.work import IS_FIRST_PROCESS, WORK, mark_finished, stage_lock

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended
FLAG = re.compile(r"\{(\w+)\}")  # {name} in the value of another flag
PLAIN = re.compile(r"\w[\w.@+=-]*")  # a name that can be part of a path
WAIT_FOR_FIRST = 15.0  # seconds that the other processes wait before they write


def command(run: Callable[..., None], item: str | None = None) -> None:
    """Run a stage from the command line.

    The first parameter of `run` is the stage's Params model; its values stand in the section of params.yaml
    that has the name of the stage's file. Each other parameter (a Path, a str or an int) is a flag: required,
    or optional where it has a default. A bool is a switch. A dataclass stands for its fields, which are flags. A
    parameter `params_file` gets the file of --params. In a value, `{name}` stands for the value of the flag `--name`.
    `item` names the flag that chooses the item of the section (see `load_params`).

    An error that a person can fix ends in one line and the error's exit code, Ctrl-C in exit code 130. Any other error
    is a fault of the program and keeps its traceback.
    """
    stage = Path(inspect.getfile(run)).stem
    arguments, params = _arguments(run, stage)
    log.set_up(stage)
    try:
        with one_line(stage):
            arguments = _filled(arguments)
            with stage_lock(_lock_name(stage, arguments)) if IS_FIRST_PROCESS else nullcontext():
                _run(run, arguments, params, item)
    except KeyboardInterrupt:
        logging.getLogger(__name__).warning("interrupted; run the same command again to go on")
        sys.exit(INTERRUPTED)
    except (OSError, RuntimeError, SafetensorError, sqlite3.OperationalError) as error:
        others.explain()
        if not (advice := _advice(error, stage, arguments)):
            raise
        _end(stage, advice, 1)


def tool(program: str, main: Callable[[Sequence[str]], None]) -> None:
    """Run a command that is no stage; its log is its output.

    Errors and Ctrl-C end it as they end a stage.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
    logging.getLogger(main.__module__).setLevel(logging.INFO)
    try:
        with one_line(program):
            main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end(program: str, line: str, status: int) -> None:
    """Say why the program ends.

    Other processes wait before they write, because the first one most often says the same.
    """
    others.tell(line)
    if not IS_FIRST_PROCESS:
        time.sleep(WAIT_FOR_FIRST)
    sys.stderr.write(f"{program}: {log.escaped(line)}\n")
    sys.exit(status)


@contextmanager
def one_line(program: str) -> Iterator[None]:
    """Ends the process in one line when the block raises a UserError.

    The exit code is that of the error.
    """
    try:
        yield
    except UserError as error:
        _end(program, str(error), error.status)


def _run(run: Callable[..., None], arguments: dict[str, Any], params: str, item: str | None) -> None:
    """Call the stage with its parameters, which are named `params`."""
    stage, hints, file = Path(inspect.getfile(run)).stem, get_type_hints(run), arguments["params_file"]
    load = lambda: load_params(hints[params], stage, file, arguments[item] if item else None)  # noqa: E731
    _, *others = inspect.signature(run).parameters
    grouped = {name: _value(hints[name], name, arguments) for name in others}
    with _unchanged(run, load, file) as read:
        run(read, **grouped)


def _value(kind: Any, name: str, arguments: dict[str, Any]) -> Any:
    """The value of a parameter: a flag's, or a dataclass of them."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return arguments[name]
    return kind(**{field.name: arguments[field.name] for field in fields(kind)})


def _filled(arguments: dict[str, Any]) -> dict[str, Any]:
    """The values with the names of other flags filled in.

    UserError for a name that would lead to another folder. DVC gives the names of a matrix once, quoted for the shell,
    and no template of dvc.yaml stands inside a word of a command.
    """
    names = {flag: str(value) for flag, value in arguments.items() if isinstance(value, str | int)}

    def name(found: re.Match[str]) -> str:
        value = names.get(found[1])
        if value is None:  # braces of the path itself
            return found[0]
        if not PLAIN.fullmatch(value):
            raise UserError(f"--{found[1]} is {value!r}, which is no plain name; use letters, digits and . _ - only")
        return value

    return {
        flag: type(value)(FLAG.sub(name, str(value))) if isinstance(value, str | Path) else value
        for flag, value in arguments.items()
    }


def _lock_name(stage: str, arguments: dict[str, Any]) -> str:
    """A file name of the stage and its item.

    Different items may run at the same time.
    """
    items = [str(value) for value in arguments.values() if isinstance(value, str | int)]
    return re.sub(r"[^\w.-]", "_", "-".join([stage, *items]))


def _advice(error: Exception, stage: str, arguments: dict[str, Any]) -> str | None:
    """What to do about a bad disk or an absent input.

    The disk is full or read-only. None for a fault of the program.
    """
    code, file = getattr(error, "errno", None), getattr(error, "filename", None) or os.getcwd()
    if code in FULL or _says_full(error):
        return f"no space left on the disk ({file}); free some and run the same command again"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{file}: {os.strerror(code).lower()}; make it writable and run the same command again"
    paths = [path for path in arguments.values() if isinstance(path, Path)]
    absent = [str(path) for path in paths if not path.exists() and _names(str(error), str(path))]
    if isinstance(error, FileNotFoundError) and absent:
        return f"{max(absent, key=len)}: not there; `dvc repro {stage}` runs the stages that write it"
    return None


def _names(text: str, path: str) -> bool:
    """Whether a text has a path, not within a longer name."""
    return re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", text) is not None


def _says_full(error: Exception) -> bool:
    """Whether the error of a library means a full disk.

    ffmpeg and safetensors use the system's words and SQLite its own. torch only says that writing failed.
    """
    text = str(error)
    if "inline_container" in text:
        return any(shutil.disk_usage(path).free < 2**20 for path in (Path("."), WORK) if path.exists())
    return "No space left" in text or "disk is full" in text


@contextmanager
def _unchanged(run: Callable[..., None], load: Callable[[], Params], file: Path) -> Iterator[Params]:
    """The parameters; UserError when they or the code changed in the block.

    DVC records parameters and code as they are when the stage ends. Without this check an edit during a training would
    be recorded as what the model was trained with.
    """
    params, code = load(), hash_files(loaded_files(Path(inspect.getfile(run))))
    if IS_FIRST_PROCESS:
        store_copy(WORK / "code")
    yield params
    edited = changed_files(code)
    if load() != params:
        edited.append(f"{file} (the section of this stage)")
    if edited:
        raise UserError(
            f"{shortened(edited)} changed while the stage ran, so its result does not count. "
            "Its checkpoints and answers are kept: put back what changed and run again, "
            "or keep a change of code and run again with RESUME=1"
        )
    mark_finished()


def _arguments(run: Callable[..., None], stage: str) -> tuple[dict[str, Any], str]:
    """The flags' values by parameter name, and the parameter of the Params.

    The value of --params is named `params_file`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage}",
        description=inspect.getdoc(run),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--params",
        dest="params_file",
        type=Path,
        default=Path("params.yaml"),
        help="parameter file (default: %(default)s)",
    )
    params = next(iter(inspect.signature(run).parameters))
    for parameter, hint in flags(run):
        if parameter.name in (params, "params_file"):
            continue
        flag, optional = f"--{parameter.name.replace('_', '-')}", parameter.default is not inspect.Parameter.empty
        if hint is bool:
            parser.add_argument(flag, action="store_true")
            continue
        parser.add_argument(
            flag,
            type=next((kind for kind in (str, int) if hint in (kind, kind | None)), Path),
            required=not optional,
            default=parameter.default if optional else None,
        )
    return vars(parser.parse_args()), params


def flags(function: Callable[..., object]) -> Iterator[tuple[inspect.Parameter, Any]]:
    """The parameters of a function with their types.

    A dataclass stands for its fields.
    """
    hints = get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from flags(hint)
        else:
            yield parameter, hint
