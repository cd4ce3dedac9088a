"""The workers of a Dask cluster, each with its own sandboxed processes."""

import hashlib
import multiprocessing
import os
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from stages.run.code import ROOT
from stages.run.errors import EndpointError, UserError
from stages.run.files import sha256_file
from stages.video.media import MediaError
from stages.video.workers import Collect, Limits, LocalCrew, Result, Task

if TYPE_CHECKING:
    from distributed import Client, Future

PACKAGES = ("av", "decord", "distributed", "numpy", "pillow", "simplejpeg")  # that decide bytes or the protocol
WAIT_S = 30  # seconds for the scheduler, and for its first worker


@dataclass(frozen=True)
class There:
    """What a worker needs beside its tasks.

    These are limits, the working folder, and the versions that it must have.
    """

    limits: Limits
    folder: str
    versions: Mapping[str, str]


class DaskCrew:
    """The cluster at an address. Needs `dask[distributed]` and a shared file system."""

    def __init__(self, address: str, limits: Limits) -> None:
        self._address = address
        self._client = _connected(address)
        self._there = There(limits, os.getcwd(), versions())
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        self.size = max(1, sum(worker["nthreads"] for worker in workers))

    def submit(self, function: Callable[[Task], Result], chunk: Sequence[Task]) -> Collect[Result]:
        """Start a chunk; returns a function that waits for its results.

        The scheduler gives the chunk of a lost worker to another one.
        """
        future = self._client.submit(_run_there, function, chunk, self._there, pure=False)
        return partial(self._collect, future)

    def _collect(self, future: "Future") -> list[Any]:
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            while True:
                try:
                    return future.result(timeout=WAIT_S)
                except TimeoutError:
                    self._check_workers()
        except (CancelledError, CommClosedError):
            raise EndpointError(
                f"the Dask scheduler at {self._address} is gone; start it and its workers, then run again"
            ) from None
        except KilledWorker:
            raise EndpointError("several Dask workers died at the same task; their logs say why") from None

    def _check_workers(self) -> None:
        """EndpointError when none is left, for which Dask would wait for ever."""
        if not self._client.scheduler_info(n_workers=-1)["workers"]:
            raise EndpointError(
                f"the Dask scheduler at {self._address} has no workers any more; their logs say why. "
                f"Start them with PYTHONPATH={ROOT}, then run again"
            )

    def stop(self) -> None:
        self._client.close(timeout=WAIT_S)


def versions() -> dict[str, str]:
    """What has to be equal on all machines, by name.

    These are Python, packages, and this project's code.
    """
    found = {"Python": platform.python_version(), "the code in stages/": _code()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _code() -> str:
    digest = hashlib.sha256()
    for file in sorted(path for room in ("data", "run", "video") for path in (ROOT / "stages" / room).rglob("*.py")):
        digest.update(f"{file.relative_to(ROOT)} {sha256_file(file)}\n".encode())
    return digest.hexdigest()[:12]


def _connected(address: str) -> "Client":
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise UserError(
            "DASK_SCHEDULER_ADDRESS is set, but Dask is not installed: pip install '.[dask]', or unset it"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # its table of versions; the workers compare ours
            client = Client(address, timeout=WAIT_S)
    except OSError as error:
        raise UserError(f"no Dask scheduler at {address} ({error}); fix or unset DASK_SCHEDULER_ADDRESS") from None
    try:
        client.wait_for_workers(1, timeout=WAIT_S)
    except TimeoutError:
        client.close()
        raise UserError(f"the Dask scheduler at {address} has no workers; start some: dask worker {address}") from None
    return client


def _run_there(function: Callable[[Task], Result], chunk: Sequence[Task], there: There) -> list[Result | MediaError]:
    """A chunk's results, on a Dask worker."""
    from distributed import get_worker

    worker = get_worker()
    _check_versions(there.versions, worker.address)
    if multiprocessing.current_process().daemon:
        raise UserError(
            f"the Dask worker {worker.address} may start no processes; "
            "start the workers with DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment"
        )
    crew = _crew_of_worker(replace(there.limits, workers=worker.state.nthreads), there.folder)
    return crew.submit(function, chunk)()


def _check_versions(wanted: Mapping[str, str], worker: str) -> None:
    """UserError with each difference between this worker and the sender."""
    here = _own_versions()
    if apart := [f"{name} ({here.get(name)}, not {want})" for name, want in wanted.items() if here.get(name) != want]:
        raise UserError(f"the Dask worker {worker} has another version of {', '.join(apart)}; give it the same")


@lru_cache(maxsize=1)
def _own_versions() -> dict[str, str]:
    return versions()


@lru_cache(maxsize=1)
def _crew_of_worker(limits: Limits, folder: str) -> LocalCrew:
    return LocalCrew(limits, folder)
