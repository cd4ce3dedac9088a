"""`make keep STAGE=sft`: record outputs as they are after a harmless edit.

It shows what changed in the code since the outputs were made. It refuses where parameters, data or the outputs
themselves changed: then the stage has to run again.
"""

import argparse
import difflib
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flows import dvc, graph
from flows.checkout import find_checkout
from flows.errors import UsageError, one_line
from flows.graph import CODE

COPIES = Path(".work") / "code"  # one zip file of the folder stages for each state of the code that ran


def keep(root: Path, target: str) -> str:
    """Records the outputs of a stage; returns the differences in its code.

    The name of a matrix stage means all its items.

    UsageError when a stage has to run again, or when no copy of the code that ran is left to compare with.
    """
    stages = graph.select(dvc.snapshot(root).stages, [target], single=True, downstream=False)
    differences = {difference for stage in stages for difference in code_differences(root, stage.name)}
    if differences:
        dvc.call(root, "commit", "--force", *(stage.name for stage in stages))
    return "\n".join(sorted(differences))


def code_differences(root: Path, stage: str) -> list[str]:
    """A unified diff for each changed file of code.

    UsageError when something else changed too.
    """
    changed = dvc.changed_items(root, stage)
    if others := [item for item in changed if not item.startswith(CODE)]:
        raise UsageError(
            f"{stage}: {', '.join(others)} changed since the outputs were made, so they are not what the stage would "
            f"write now; run `dvc repro {stage}`"
        )
    return [text for path, digest in changed.items() for text in differences_of(root, path, digest)]


def differences_of(root: Path, path: str, recorded: str) -> Iterator[str]:
    """The diff of each file below `path` since it ran.

    `path` is a file or a folder.
    """
    before = copy_that_ran(root, path, recorded)
    now = {name: text for name, text in read_tree(root).items() if Path(name).is_relative_to(path)}
    for name in sorted(before.keys() | now.keys()):
        old, new = (side.get(name, b"").decode().splitlines(keepends=True) for side in (before, now))
        yield "".join(difflib.unified_diff(old, new, f"{name} (ran)", f"{name} (now)"))


def copy_that_ran(root: Path, path: str, recorded: str) -> dict[str, bytes]:
    """The files below `path` whose hash dvc.lock recorded, by name."""
    for archive in sorted((root / COPIES).glob("*.zip")):
        with zipfile.ZipFile(archive) as copy:
            names = [name for name in copy.namelist() if Path(name).is_relative_to(path)]
            files = {name: copy.read(name) for name in names}
        if files and dvc_hash(path, files) == recorded:
            return files
    raise UsageError(
        f"{path} changed, and no copy of the code that ran is in {COPIES}, so the change cannot be shown. "
        "Look at `git diff`; if the change is harmless, `dvc commit` records the outputs without this check"
    )


def dvc_hash(path: str, files: Mapping[str, bytes]) -> str:
    """The hash that DVC gives a file or a folder."""
    digests = {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in files.items()}
    if path in digests:
        return digests[path]
    listing = [
        {"md5": digest, "relpath": Path(name).relative_to(path).as_posix()} for name, digest in sorted(digests.items())
    ]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def read_tree(root: Path) -> dict[str, bytes]:
    """The files of the folder stages, by name."""
    files = (file for file in (root / "stages").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the differences and what was recorded."""
    parser = argparse.ArgumentParser("python -m flows.keep", description="Record a stage's outputs as they are.")
    parser.add_argument("stage", help="a stage of dvc.yaml, for example sft or evaluate@sft-shapes-8")
    stage = parser.parse_args(arguments).stage
    with one_line("keep"):
        differences = keep(find_checkout(Path.cwd()), stage)
    print(differences or f"{stage} is up to date: nothing to record")  # noqa: T201
    if differences:
        print(f"{stage}: outputs recorded as they are; next: git add dvc.lock && git commit")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
