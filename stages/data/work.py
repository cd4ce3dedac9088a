"""Where a stage keeps what must survive a kill but is not an artifact: checkpoints, journals, locks."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.data.errors import UserError
from stages.data.files import sha256_file
from stages.data.params import Params

WORK = Path(".work")


def work_dir(stage: str, params: Params, inputs: Sequence[Path] = (), modules: Iterable[str] = ()) -> Path:
    """`.work/<stage>/<fingerprint>/`, created; the fingerprint covers parameters, inputs (files or folders) and the code of `modules`.

    `modules` are paths relative to the project ("stages/sft.py", "stages/model"). A killed run finds its own state there and
    a run with other parameters, data or code never does. DVC deletes a stage's outs before it runs, hence this place outside them.
    """
    digest = hashlib.sha256(params.model_dump_json().encode())
    root = Path(__file__).parents[2]
    for path in [*inputs, *(root / module for module in sorted(modules))]:
        for file in _files(path):
            digest.update(f"{file.relative_to(path)}:{sha256_file(file)}\n".encode())
    directory = WORK / stage / digest.hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def stage_lock(stage: str) -> Iterator[None]:
    """Hold the stage for this process's life; UserError names the holder when another process has it.

    The kernel drops the lock when the process dies, however it dies.
    """
    path = WORK / "locks" / f"{stage}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "?"
            raise UserError(f"stage {stage} is already running here (process {holder}); wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return [path]
