"""Work on untrusted media in sandboxed processes: one that hangs, crashes or eats memory costs one task, with its reason."""

import os
import resource
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from pebble import ProcessExpired, ProcessPool

from stages.video.media import MediaError

Task = TypeVar("Task")
Result = TypeVar("Result")

CHUNK_TASKS = 64
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Limits:
    """workers: processes, 0 for one per core. timeout_s: seconds a task may take. memory_mb: what a process may allocate."""

    workers: int
    timeout_s: float
    memory_mb: int


def map_sandboxed(
    function: Callable[[Task], Result], tasks: Sequence[Task], path: Callable[[Task], Path], limits: Limits
) -> Generator[Result | MediaError, None, None]:
    """`function` of every task, in the order of the tasks; a MediaError where it raised one or was stopped.

    Tasks on small files travel in chunks. A chunk that is lost is done again task by task, so that only the guilty one is lost. No
    more than a few chunks are under way, which bounds memory. Any other exception of `function` propagates, with the path.
    """
    workers = limits.workers or os.cpu_count() or 1
    pool = ProcessPool(workers, context=get_context("spawn"), initializer=_set_limits, initargs=(limits.memory_mb,))

    def submit(chunk: Sequence[Task]) -> Future[list[Result | MediaError]]:
        return pool.schedule(_run, args=(function, chunk, path), timeout=limits.timeout_s)

    def collect(chunk: Sequence[Task], future: Future[list[Result | MediaError]]) -> list[Result | MediaError]:
        try:
            return future.result()
        except (TimeoutError, ProcessExpired, MemoryError) as error:
            if len(chunk) == 1:
                return [_loss(error, limits)]
        return [result for task in chunk for result in collect([task], submit([task]))]

    under_way: deque[tuple[Sequence[Task], Future[list[Result | MediaError]]]] = deque()
    try:
        for chunk in _chunks(tasks, path):
            under_way.append((chunk, submit(chunk)))
            if len(under_way) > 2 * workers:
                yield from collect(*under_way.popleft())
        while under_way:
            yield from collect(*under_way.popleft())
    finally:
        pool.stop()
        pool.join()


def _run(function: Callable[[Task], Result], chunk: Sequence[Task], path: Callable[[Task], Path]) -> list[Result | MediaError]:
    return [_run_one(function, task, path) for task in chunk]


def _run_one(function: Callable[[Task], Result], task: Task, path: Callable[[Task], Path]) -> Result | MediaError:
    try:
        return function(task)
    except MediaError as error:
        return error
    except Exception as error:
        error.add_note(f"while working on {path(task)}")
        raise


def _loss(error: Exception, limits: Limits) -> MediaError:
    if isinstance(error, TimeoutError):
        return MediaError("timeout", f"took longer than {limits.timeout_s:g} s")
    if isinstance(error, MemoryError):
        return MediaError("out of memory", f"needs more than {limits.memory_mb} MB")
    return MediaError("crashed", str(error))


def _chunks(tasks: Sequence[Task], path: Callable[[Task], Path]) -> Iterator[Sequence[Task]]:
    """Neighbouring tasks on small files together, each on a big file alone."""
    chunk: list[Task] = []
    size = 0
    for task in tasks:
        file = path(task)
        file_size = file.stat().st_size if file.exists() else 0
        if chunk and (len(chunk) == CHUNK_TASKS or size + file_size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(task)
        size += file_size
    if chunk:
        yield chunk


def _set_limits(megabytes: int) -> None:
    """Limit threads and what this process may allocate. Not its address space: the libraries it maps would count, gigabytes with CUDA."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when a resize kernel imports it: one process per core is enough
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
