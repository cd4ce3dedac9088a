"""The command line every stage shares: `if __name__ == "__main__": command(run)`."""

import argparse
import errno
import inspect
import logging
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_type_hints

from safetensors import SafetensorError

from stages.run.code import changed_files, hash_files, loaded_files, store_copy
from stages.run.errors import UserError
from stages.run.files import FULL
from stages.run.params import Params, load_params
from stages.run.work import IS_FIRST_PROCESS, WORK, mark_finished, stage_lock


def command(run: Callable[..., None], item: str | None = None) -> None:
    """Run a stage from the command line.

    `run`'s first parameter is its Params model, read from the section of params.yaml named after the stage's file; each other
    parameter (a Path, a str or an int) becomes a required `--flag`, optional where it has a default, and a bool a switch. `item` names
    the flag that says for which item of the section the parameters are (see `load_params`). Errors that a person can mend end in one
    line and the error's exit code, Ctrl-C in 130; anything else is a fault of the program and keeps its traceback.
    """
    stage = Path(inspect.getfile(run)).stem
    arguments, params = _arguments(run, stage)
    logging.basicConfig(
        format=f"%(asctime)s {stage}: %(message)s", datefmt="%H:%M:%S", stream=sys.stderr, level=logging.WARNING
    )
    for ours in ("stages", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO)
    lock = re.sub(
        r"[^\w.-]",
        "_",
        "-".join([stage, *(str(value) for value in arguments.values() if isinstance(value, str | int))]),
    )
    try:
        with stage_lock(lock) if IS_FIRST_PROCESS else nullcontext():
            model, file = get_type_hints(run)[params], arguments.pop("params_file")
            with _unchanged(
                run, lambda: load_params(model, stage, file, arguments[item] if item else None), file
            ) as read:
                run(read, **arguments)
    except UserError as error:
        sys.stderr.write(f"{stage}: {error}\n")
        sys.exit(error.status)
    except KeyboardInterrupt:
        logging.getLogger(__name__).warning("interrupted; run the same command again to go on")
        sys.exit(130)
    except (OSError, RuntimeError, SafetensorError, sqlite3.OperationalError) as error:
        if not (advice := _advice(error, stage, arguments)):
            raise
        sys.exit(f"{stage}: {advice}")


def _advice(error: Exception, stage: str, arguments: dict[str, Any]) -> str | None:
    """What to do about a full or read-only disk or an input that is not there; None for a fault of the program."""
    code, file = getattr(error, "errno", None), getattr(error, "filename", None) or os.getcwd()
    if code in FULL or _says_full(error):
        return f"no space left on the disk ({file}); free some and run the same command again"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{file}: {os.strerror(code).lower()}; make it writable and run the same command again"
    absent = [
        str(path)
        for path in arguments.values()
        if isinstance(path, Path) and not path.exists() and str(path) in str(error)
    ]
    if isinstance(error, FileNotFoundError) and absent:
        return f"{max(absent, key=len)}: not there; `dvc repro {stage}` runs the stages that write what this one reads"
    return None


def _says_full(error: Exception) -> bool:
    """Whether a library means a full disk: ffmpeg and safetensors say so, SQLite in other words, and torch only that writing failed."""
    text = str(error)
    return (
        "No space left" in text
        or "disk is full" in text
        or ("inline_container" in text and shutil.disk_usage(".").free < 2**20)
    )


@contextmanager
def _unchanged(run: Callable[..., None], load: Callable[[], Params], file: Path) -> Iterator[Params]:
    """The parameters; UserError if they, or the code that runs, are others when the stage ends.

    DVC records both as they are then: without this a model would count as trained with what was edited while it was trained.
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
            f"{', '.join(edited)} changed while the stage ran, so its result does not count. Run it again: its checkpoints and answers "
            "are kept. Where code changed, put it back first, or say RESUME=1 to go on with the new code"
        )
    mark_finished()


def _arguments(run: Callable[..., None], stage: str) -> tuple[dict[str, Any], str]:
    """Parsed flags by parameter name (with `params_file`), and the name of the parameter that takes the Params."""
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=inspect.getdoc(run))
    parser.add_argument(
        "--params",
        dest="params_file",
        type=Path,
        default=Path("params.yaml"),
        help="parameter file (default: %(default)s)",
    )
    hints = get_type_hints(run)
    params, *others = inspect.signature(run).parameters.values()
    for parameter in others:
        flag, optional = f"--{parameter.name.replace('_', '-')}", parameter.default is not inspect.Parameter.empty
        if hints[parameter.name] is bool:
            parser.add_argument(flag, action="store_true")
            continue
        parser.add_argument(
            flag,
            type=next((kind for kind in (str, int) if hints[parameter.name] in (kind, kind | None)), Path),
            required=not optional,
            default=parameter.default if optional else None,
        )
    return vars(parser.parse_args()), params.name
