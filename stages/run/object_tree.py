"""A folder on this machine with all objects below an address."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from stages.run.addresses import Address
from stages.run.errors import EndpointError, UserError
from stages.run.files import read_json, whole_file, write_json
from stages.run.object_cache import is_offline, limit_bytes
from stages.run.objects import ObjectError, Version, download, list_objects

log = logging.getLogger(__name__)

AT_ONCE = 8  # objects


def fetch_tree(address: Address, folder: Path, patterns: Sequence[str]) -> None:
    """Bring the matching objects below an address into the folder.

    An object matches when its name matches one of `patterns`. An object that is there is not fetched again. When one
    has changed on the server or is gone, all are fetched again, because files of the folder may have been unpacked from
    it. With OFFLINE=1 a whole folder is taken as it is. UserError when an object cannot be fetched.
    """
    notes = folder.with_name(f"{folder.name}.objects.json")  # the versions of the objects in the folder
    known = {name: Version(*version) for name, version in read_json(notes).items()} if notes.exists() else {}
    try:
        versions = known if is_offline() else _listed(address, patterns)
        if changed := [name for name, version in known.items() if versions.get(name) != version]:
            log.info(
                "%d objects of %s have changed, first %s; all are fetched again", len(changed), address, changed[0]
            )
            shutil.rmtree(folder)
        missing = [name for name in versions if not (folder / name).is_file()]
        if is_offline() and (missing or not known):
            raise ObjectError("unreachable", f"OFFLINE=1 is set, and {folder} does not have all of its objects")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(notes, {name: [version.etag, version.size] for name, version in versions.items()})
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: _fetch(address / name, versions[name], folder / name), missing))
    except ObjectError as error:
        raise refusal(address, error) from None


def refusal(address: Address, error: ObjectError) -> UserError:
    """What a person reads about an object that stops a stage.

    It is an EndpointError when the same command may succeed later.
    """
    kind = EndpointError if error.reason in ("unreachable", "changed") else UserError
    return kind(f"{address}: {error.reason}: {error.detail}")


def _listed(address: Address, patterns: Sequence[str]) -> Mapping[str, Version]:
    """The versions of the objects that match, by path in the folder."""
    below = {str(each).removeprefix(f"{address}/"): version for each, version in list_objects(address).items()}
    wanted = {
        name: version
        for name, version in below.items()
        if any(fnmatchcase(PurePosixPath(name).name, pattern) for pattern in patterns)
    }
    size, limit = sum(version.size for version in wanted.values()), limit_bytes()
    if not wanted or size > limit:
        found = f"{len(wanted)} objects of {size / 1e9:.3g} GB to fetch"
        raise ObjectError("inaccessible", f"{found}, of at most {limit / 1e9:.3g} GB; raise OBJECT_CACHE_GB for more")
    return wanted


def _fetch(address: Address, version: Version, path: Path) -> None:
    try:
        with whole_file(path) as file:
            download(address, version, file)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise UserError(f"{address}: another object has its name as a folder; no disk can hold both") from None
