"""The origin of the page: commit, seeds, processor, hashes of its files."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.run.code import ROOT

CODE = ("stages", "dvc.yaml", "params.yaml")  # what decides the results; a commit of docs or of dvc.lock changes none


@dataclass(frozen=True)
class Provenance:
    """The origin of a page.

    `commit` is the last commit of the code and the parameters, and `date` its day; both are "" outside git. `changed`
    says whether code or parameters differ from that commit. `seeds` holds the seed of each stage.
    """

    commit: str
    date: str
    changed: bool
    seeds: dict[str, int]
    processor: str
    cores: int


def provenance(sections: Mapping[object, object]) -> Provenance:
    """The origin of a page that is made here and now.

    `sections` are those of params.yaml.
    """
    commit, _, date = _git("log", "-1", "--format=%h %cs", "--", *CODE).partition(" ")
    changed = bool(_git("status", "--porcelain", "--", *CODE))
    return Provenance(commit, date, changed, _seeds(sections), _processor(), os.cpu_count() or 1)


def md5_hashes(files: Iterable[Path]) -> list[tuple[str, str]]:
    """(file, MD5) of each file, as dvc.lock has them."""
    hashes = []
    for path in files:
        with open(path, "rb") as file:
            hashes.append((str(path), hashlib.file_digest(file, "md5").hexdigest()))
    return hashes


def _git(*arguments: str) -> str:
    """The output of a git command in the project, "" without git."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _seeds(sections: Mapping[object, object]) -> dict[str, int]:
    """The seed of each section that has one, also under `defaults`."""
    seeds = {}
    for stage, values in sections.items():
        common = values.get("defaults", values) if isinstance(values, dict) else {}
        seed = common.get("seed") if isinstance(common, dict) else None
        if isinstance(seed, int):
            seeds[str(stage)] = seed
    return seeds


def _processor() -> str:
    """The processor's name, from Linux or from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
