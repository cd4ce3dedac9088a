"""Works on untrusted media in sandboxed processes.

A process that hangs, crashes or needs too much memory costs one task, which gets its reason.
"""

import os
import resource
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

from stages.run.addresses import Address, Place
from stages.run.errors import EndpointError, UserError
from stages.run.objects import ObjectError
from stages.video.media import MediaError

Task = TypeVar("Task")
Result = TypeVar("Result")
Collect = Callable[[], list[Result | MediaError]]  # waits for the results of a chunk

CHUNK_TASKS = 64
CHUNK_BYTES = 4 << 20
MOST_UNREACHABLE = 16  # objects in a row; then the server is taken to be gone


@dataclass(frozen=True)
class Limits:
    """What the work may take.

    workers: processes, 0 for one per core. timeout_s: seconds per task. memory_mb: megabytes that a process may
    allocate.
    """

    workers: int
    timeout_s: float
    memory_mb: int


class Crew(Protocol):
    """Processes that take chunks of tasks.

    `size` is how many chunks they work on at a time.
    """

    size: int

    def submit(self, function: Callable[[Task], Result], chunk: Sequence[Task]) -> Collect[Result]:
        """Start a chunk; returns a function that waits for its results."""
        ...

    def stop(self) -> None:
        """End the processes, or leave them."""
        ...


class Sandbox(AbstractContextManager["Sandbox"]):
    """Worker processes for untrusted media.

    They run on this machine, or on the Dask cluster at DASK_SCHEDULER_ADDRESS where that is set. They start with the
    first task and end with the block.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._crew: Crew | None = None

    def __exit__(self, *_: object) -> None:
        if self._crew:
            self._crew.stop()

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], path: Callable[[Task], Place]
    ) -> Generator[Result | MediaError, None, None]:
        """`function` of every task, in the order of the tasks.

        The result is a MediaError where `function` raised an exception or was stopped. Tasks on small files travel in
        chunks. When a chunk is lost, each of its tasks runs again alone, so that only the guilty task is lost. Few
        chunks are under way at a time, which bounds memory. EndpointError when a server is gone.
        """
        silent = 0
        for result in self._results(function, tasks, path):
            detail = result.detail if isinstance(result, MediaError) and result.reason == "unreachable" else None
            silent = 0 if detail is None else silent + 1
            if silent == MOST_UNREACHABLE:
                raise EndpointError(f"{silent} objects in a row, the last: {detail}; run again when the server is back")
            yield result

    def _results(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], path: Callable[[Task], Place]
    ) -> Iterator[Result | MediaError]:
        under_way: deque[Collect[Result]] = deque()
        for chunk in _chunks(tasks, path):
            crew = self._crew = self._crew or _crew(self._limits)
            under_way.append(crew.submit(function, chunk))
            if len(under_way) > 2 * crew.size:
                yield from under_way.popleft()()
        while under_way:
            yield from under_way.popleft()()


class LocalCrew:
    """Processes of this machine, working in `folder`."""

    def __init__(self, limits: Limits, folder: str) -> None:
        self._limits = limits
        self.size = limits.workers or os.cpu_count() or 1
        context = get_context("spawn")
        with _without_ctrl_c():
            self._pool = ProcessPool(
                self.size, context=context, initializer=_prepare_process, initargs=(limits.memory_mb, folder)
            )
            assert self._pool.active  # asking starts it

    def submit(self, function: Callable[[Task], Result], chunk: Sequence[Task]) -> Collect[Result]:
        """Start a chunk; returns a function that waits for its results."""
        future = self._pool.schedule(_run, args=(function, chunk), timeout=self._limits.timeout_s)
        return partial(self._collect, function, chunk, future)

    def _collect(
        self,
        function: Callable[[Task], Result],
        chunk: Sequence[Task],
        future: Future[list[Result | MediaError]],
    ) -> list[Result | MediaError]:
        """The results of a chunk.

        When its process was lost, each task runs again in a process of its own.
        """
        try:
            return future.result()
        except (TimeoutError, ProcessExpired, MemoryError) as error:
            if len(chunk) == 1:
                return [_loss(error, self._limits)]
        return [result for task in chunk for result in self.submit(function, [task])()]

    def stop(self) -> None:
        self._pool.stop()
        self._pool.join()


def _crew(limits: Limits) -> Crew:
    if not (address := os.environ.get("DASK_SCHEDULER_ADDRESS")):
        return LocalCrew(limits, os.getcwd())
    from stages.video.cluster import DaskCrew

    return DaskCrew(address, limits)


def _run(function: Callable[[Task], Result], chunk: Sequence[Task]) -> list[Result | MediaError]:
    return [_run_one(function, task) for task in chunk]


def _run_one(function: Callable[[Task], Result], task: Task) -> Result | MediaError:
    """The result of one task, or why there is none.

    Whatever a file makes a library raise costs that file alone, and is counted under a reason of its own.
    """
    try:
        return function(task)
    except MediaError as error:
        return error
    except ObjectError as error:
        return MediaError(error.reason, error.detail)
    except (MemoryError, UserError):
        raise
    except Exception as error:  # noqa: BLE001
        # The system sets errno when it cannot read a file; a library that cannot read the content sets none.
        if isinstance(error, OSError) and error.errno:
            return MediaError("inaccessible", os.strerror(error.errno))
        return MediaError("internal error", f"{type(error).__name__} in {_place(error)}: {error}")


def _place(error: Exception) -> str:
    """The innermost line of this program at which the error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "stages" in Path(frame.filename).parts] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _loss(error: Exception, limits: Limits) -> MediaError:
    if isinstance(error, TimeoutError):
        return MediaError("timeout", f"took longer than timeout_s = {limits.timeout_s:g}")
    if isinstance(error, MemoryError):
        return MediaError("out of memory", f"needs more than memory_mb = {limits.memory_mb}")
    return MediaError("crashed", str(error))


def _chunks(tasks: Iterable[Task], path: Callable[[Task], Place]) -> Iterator[Sequence[Task]]:
    """Neighbouring tasks on small files together, each on a big file alone."""
    chunk: list[Task] = []
    size = 0
    for task in tasks:
        file_size = _size(path(task))
        if chunk and (len(chunk) == CHUNK_TASKS or size + file_size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(task)
        size += file_size
    if chunk:
        yield chunk


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that start in the block do not see Ctrl-C.

    So it is with processes that its threads start. This process sees it, and then ends them.
    """
    resource_tracker.ensure_running()  # else it starts with the first process, and lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _size(place: Place) -> int:
    if isinstance(place, Address):  # of unknown size, so alone in its chunk
        return CHUNK_BYTES
    try:
        return place.stat().st_size
    except OSError:  # the worker will say why
        return 0


def _prepare_process(megabytes: int, folder: str) -> None:
    """Limit the threads of this process and what it may allocate.

    The limit is not on its address space: the libraries that it maps would count, which are gigabytes with CUDA.
    """
    os.chdir(folder)
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when a resize kernel imports it; there is one process per core
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
