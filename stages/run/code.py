"""The code that a stage runs: its hashes and a copy."""

import hashlib
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stages.run.files import sha256_file, whole_file

ROOT = Path(__file__).parents[2]
PLUMBING = ("stages/run/", "stages/launch.py", "stages/__init__.py")  # no result depends on these


def loaded_files(*more: Path) -> list[Path]:
    """The loaded files of the project that decide a result, and `more`."""
    modules = [module for name, module in sys.modules.items() if name == "__main__" or name.startswith("stages.")]
    loaded = {Path(file).resolve() for module in modules if (file := getattr(module, "__file__", None))}
    ours = {file for file in loaded if file.exists() and _is_ours(_name(file))}
    return sorted(ours | {file.resolve() for file in more})


def hash_files(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by name.

    The name is relative to the project when the file lies in it.
    """
    return {_name(file): sha256_file(file) for file in files}


def changed_files(before: Mapping[str, str]) -> list[str]:
    """The names whose file is gone or differs from what `hash_files` saw."""
    return sorted(
        name for name, digest in before.items() if not (ROOT / name).exists() or sha256_file(ROOT / name) != digest
    )


def shortened(names: Sequence[str], most: int = 5) -> str:
    """The first names in one line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def store_copy(folder: Path) -> None:
    """Keep the project's `stages` as a zip file in `folder`.

    Each state of the code has one file.

    `make keep` shows with it what has changed since a result was made.
    """
    files = sorted(file for file in (ROOT / "stages").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    state = "".join(f"{name}:{digest}\n" for name, digest in hash_files(files).items())
    path = folder / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.zip"
    if path.exists():
        return
    with whole_file(path) as whole, zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, _name(file))


def _is_ours(name: str) -> bool:
    return name.startswith("stages/") and not name.startswith(PLUMBING)


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else str(file)
