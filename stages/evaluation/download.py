"""Benchmarks from the Hugging Face hub: fetched once, archives unpacked."""

import fcntl
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from stages.evaluation.archives import SUFFIXES, unpack
from stages.run.addresses import MARK, Address
from stages.run.errors import UserError
from stages.run.object_tree import fetch_tree
from stages.run.work import WORK

# Records, media and their archives, without code and pickles.
_FILES = [
    "*.json",
    "*.jsonl",
    "*.parquet",
    "*.srt",
    "*.mp4",
    "*.MP4",
    "*.webm",
    "*.avi",
    "*.mkv",
    "*.zip",
    "*.tar",
    "*.tar.gz",
    "*.tgz",
]
_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_ONE_SLASH = re.compile(r"^(\w+):/(?=[^/])")  # of an address that was taken for a path


def benchmark_folder(root: Path) -> Path:
    """The folder with a benchmark's files, fetched from the hub where needed.

    `root` is a folder, a dataset's name, or a text file with one name per line. A name is `owner/dataset`,
    `owner/dataset@revision`, or the address of a folder of objects (s3://, gs://, hf://); the first one holds the
    records. UserError when one cannot be fetched.
    """
    if root.is_dir():
        return root
    names = root.read_text(encoding="utf-8").split() if root.is_file() else [_ONE_SLASH.sub(rf"\1{MARK}", str(root))]
    if not names or not all(MARK in name or _NAME.fullmatch(name) for name in names):
        raise UserError(f"{root}: neither a folder nor the name of a dataset on the hub (owner/dataset[@revision])")
    return fetch(*names)


def fetch(name: str, *others: str) -> Path:
    """Fetch a dataset's missing files from the hub and unpack its archives.

    `others` are datasets with further files, such as its videos; each becomes a folder inside. When another process
    already fetches the dataset, this one waits for it.
    """
    folder = WORK / "hub" / _folder_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _download(name, folder)
        for other in others:
            _download(other, folder / _folder_name(other))
        for archive in sorted(folder.rglob("*")):
            if archive.name.endswith(SUFFIXES):
                unpack(archive)
    return folder


def _folder_name(name: str) -> str:
    return name.replace(MARK, "--").replace("/", "--")


def _download(name: str, folder: Path) -> None:
    if MARK in name:
        fetch_tree(_address(name), folder, _FILES)
        return
    dataset, _, revision = name.partition("@")
    try:
        snapshot_download(
            dataset, repo_type="dataset", revision=revision or None, local_dir=folder, allow_patterns=_FILES
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"'{name}' is no folder here, and the hub gives no such dataset: {str(error).splitlines()[0]}"
        ) from error


def _address(name: str) -> Address:
    try:
        return Address.parse(name)
    except ValueError as error:
        raise UserError(f"the benchmark's address is refused: {error}") from None
