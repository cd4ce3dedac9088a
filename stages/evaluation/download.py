"""Benchmarks from the Hugging Face hub: fetched once, archives unpacked."""

import fcntl
import glob
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import filter_repo_objects

from stages.evaluation.archives import SUFFIXES, unpack
from stages.run.addresses import MARK, Address
from stages.run.errors import UserError
from stages.run.object_tree import fetch_tree
from stages.run.work import WORK

log = logging.getLogger(__name__)

_RECORDS = ["*.json", "*.jsonl", "*.parquet", "*.srt"]
# With media and their archives, without code and pickles.
_FILES = [
    *_RECORDS,
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
_ONE_SLASH = re.compile(r"^(\w+):/(?=[^/])")  # of an address that became a path: s3:/bucket


def dataset_names(root: Path) -> list[str]:
    """The datasets on the hub that `root` names; none for a folder.

    `root` is a dataset's name, or a text file with one name per line. A name is `owner/dataset`,
    `owner/dataset@revision`, or the address of a folder of objects (s3://, gs://, hf://); the first one holds the
    records. UserError for anything else.
    """
    if root.is_dir():
        return []
    names = root.read_text(encoding="utf-8").split() if root.is_file() else [_ONE_SLASH.sub(rf"\1{MARK}", str(root))]
    if not names or not all(MARK in name or _NAME.fullmatch(name) for name in names):
        raise UserError(f"{root}: neither a folder nor the name of a dataset on the hub (owner/dataset[@revision])")
    return names


def fetch(*names: str) -> Path:
    """Fetch the datasets' missing files from the hub and unpack their archives.

    The first dataset holds the records. Each further one, such as that with the videos, becomes a folder inside. The
    log says how much is fetched. When another process already fetches the datasets, this one waits for it.
    """
    folder = WORK / "hub" / _folder_name(names[0])
    with _alone(folder):
        for name, place in _places(folder, names):
            _download(name, place, _FILES)
        for archive in sorted(folder.rglob("*")):
            if archive.name.endswith(SUFFIXES):
                unpack(archive)
    return folder


class Listed:
    """Datasets of which only the records are here at first.

    `folder` has an empty file for each medium, so that the records can be read. `fetch` puts media in their places.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self.folder = WORK / "hub" / f"{_folder_name(names[0])}--listed"

    def fetch_records(self) -> bool:
        """Fetch the records.

        False for archives and folders of objects, which are only to be had whole.
        """
        if any(MARK in name for name in self._names):
            return False
        places = _places(self.folder, self._names)
        with _refusing(self._names[0]):
            files = [(place, file) for name, place in places for file in _files(name)]
        if not files or any(file.path.endswith(SUFFIXES) for _, file in files):
            return False
        with _alone(self.folder):
            for name, place in places:
                _download(name, place, _RECORDS)
            for place, file in files:
                path = place / file.path
                if not path.exists():  # another time of a fetched file would have it fetched again
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
        return True

    def fetch(self, media: Iterable[Path]) -> None:
        """Fetch these files of the folder."""
        wanted = {path.resolve() for path in media}
        with _alone(self.folder):
            for name, place in _places(self.folder, self._names):
                paths = [file.path for file in _files(name) if (place / file.path).resolve() in wanted]
                if paths:
                    _download(name, place, [glob.escape(path) for path in paths])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process fetches into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _places(folder: Path, names: Sequence[str]) -> list[tuple[str, Path]]:
    """Each dataset's name and folder."""
    return [(name, folder / _folder_name(name) if number else folder) for number, name in enumerate(names)]


def _folder_name(name: str) -> str:
    return name.replace(MARK, "--").replace("/", "--")


def _files(name: str) -> list[RepoFile]:
    """The files of a dataset that would be fetched, with their sizes.

    UserError for a path that leads out of the dataset.
    """
    dataset, _, revision = name.partition("@")
    tree = HfApi().list_repo_tree(dataset, recursive=True, revision=revision or None, repo_type="dataset")
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    if stray := next(
        (file.path for file in files if ".." in Path(file.path).parts or Path(file.path).is_absolute()), None
    ):
        raise UserError(f"{name}: its file {stray!r} lies outside the dataset; nothing is fetched")
    return list(filter_repo_objects(files, allow_patterns=_FILES, key=lambda file: file.path))


def _download(name: str, folder: Path, patterns: Sequence[str]) -> None:
    if MARK in name:
        fetch_tree(_address(name), folder, patterns)
        return
    dataset, _, revision = name.partition("@")
    with _refusing(name):
        with suppress(httpx2.TransportError, OfflineModeIsEnabled):  # the files that are already here may be enough
            _announce(name, folder, patterns)
        snapshot_download(
            dataset, repo_type="dataset", revision=revision or None, local_dir=folder, allow_patterns=list(patterns)
        )


def _address(name: str) -> Address:
    try:
        return Address.parse(name)
    except ValueError as error:
        raise UserError(f"the benchmark's address is refused: {error}") from None


def _announce(name: str, folder: Path, patterns: Sequence[str]) -> None:
    """Say how much is going to be fetched."""
    wanted = filter_repo_objects(_files(name), allow_patterns=list(patterns), key=lambda file: file.path)
    if missing := [file.size for file in wanted if not _is_here(folder / file.path, file.size)]:
        log.info("%s: fetching %s files, %s MB", name, f"{len(missing):,}", f"{sum(missing) / 1e6:,.1f}")


def _is_here(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """UserError for what the hub refuses."""
    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"'{name}' is no folder here, and the hub gives no such dataset: {str(error).splitlines()[0]}"
        ) from error
