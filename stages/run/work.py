"""Work folders and locks, which survive a kill and are no artifacts.

DVC deletes a stage's outputs before the stage runs, so checkpoints and journals stay outside them, in `.work/`.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.run.code import changed_files, hash_files, loaded_files, shortened
from stages.run.errors import UserError
from stages.run.files import read_json, sha256_file, write_json
from stages.run.params import Params

log = logging.getLogger(__name__)

WORK = Path(".work")
CODE = "code.json"  # in a work folder: the hashes of the code that wrote it
FINISHED = "finished"  # in a work folder: its stage ended well

IS_FIRST_PROCESS = os.environ.get("RANK", "0") == "0"  # of several that train together

_claimed: list[Path] = []  # the work folders of this process


def work_dir(stage: str, params: Params, inputs: Sequence[Path]) -> Path:
    """The folder `.work/<stage>/<key>/<number>/` of this run, created.

    The key covers the parameters and the bytes of the inputs. Each number stands for one state of the code. UserError
    when an unfinished run was made with other code: RESUME=1 in the environment goes on with it, FRESH=1 starts over.
    """
    home = WORK / stage / _key(params, inputs)
    earlier = sorted((path.parent for path in home.glob(f"*/{CODE}")), key=lambda folder: int(folder.name))
    fitting = [folder for folder in earlier if not changed_files(read_json(folder / CODE)["files"])]
    if fitting:
        folder = fitting[-1]
    elif earlier and _goes_on(earlier[-1]):
        folder = earlier[-1]
    else:
        folder = home / str(len(earlier))
    if IS_FIRST_PROCESS:
        _record_code(folder)
        _tell_of_others(WORK / stage, folder)
        _claimed.append(folder)
    return folder


def resume_note(work: Path) -> dict[str, list[str]]:
    """For the metrics: the code that changed between parts of a run.

    The result is empty when no code changed.
    """
    changed = read_json(work / CODE)["resumed_with_changed"]
    return {"resumed_with_changed": changed} if changed else {}


def mark_finished() -> None:
    """Note that the stage of this process ended well.

    A later change of code then starts a new run without a question.
    """
    for folder in _claimed:
        (folder / FINISHED).touch()


@contextmanager
def stage_lock(stage: str) -> Iterator[None]:
    """Hold the stage; UserError when another process holds it.

    The error names that process.

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
            raise UserError(
                f"stage {stage} is already running here (process {holder}); wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _key(params: Params, inputs: Sequence[Path]) -> str:
    digest = hashlib.sha256(params.model_dump_json().encode())
    for path in inputs:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.relative_to(path)}:{sha256_file(file)}\n".encode())
    return digest.hexdigest()[:16]


def _goes_on(last: Path) -> bool:
    """Whether a run goes on in a folder that other code wrote.

    UserError when a person has to decide.
    """
    if os.environ.get("RESUME") == "1":
        return True
    if os.environ.get("FRESH") == "1" or (last / FINISHED).exists() or not _has_state(last):
        return False
    changed = changed_files(read_json(last / CODE)["files"])
    raise UserError(
        f"{last} holds an unfinished run, and its code has changed since: {shortened(changed)}. "
        "Run again with RESUME=1 to go on from its last checkpoint, or with FRESH=1 to start over"
    )


def _has_state(folder: Path) -> bool:
    return any(file.is_file() and file.name != CODE for file in folder.rglob("*"))


def _record_code(folder: Path) -> None:
    """Note the code beside the checkpoints, and what of it changed."""
    record = read_json(folder / CODE) if (folder / CODE).exists() else {"files": {}, "resumed_with_changed": []}
    changed = changed_files(record["files"])
    if changed:
        log.warning("RESUME=1: the run in %s goes on although code changed: %s", folder, shortened(changed))
    (folder / FINISHED).unlink(missing_ok=True)
    resumed_with_changed = sorted({*record["resumed_with_changed"], *changed})
    write_json(folder / CODE, {"files": hash_files(loaded_files()), "resumed_with_changed": resumed_with_changed})


def _tell_of_others(stage: Path, own: Path) -> None:
    """Name the folders of earlier runs, which nothing deletes."""
    others = [path.parent for path in sorted(stage.rglob(CODE)) if path.parent != own]
    size = sum(file.stat().st_size for folder in others for file in folder.rglob("*") if file.is_file())
    if size:
        log.info("%d earlier runs keep %.1f GB in %s; delete what you do not need", len(others), size / 1e9, stage)
