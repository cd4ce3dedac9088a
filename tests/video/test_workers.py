import os
import re
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from socket import AF_UNIX, socket

import ffmpeg
import numpy as np
import pytest
from PIL import Image

from stages.video.extract import extract
from stages.video.media import MediaError, MediaInfo, Reason
from stages.video.probe import probe
from stages.video.workers import Limits, Sandbox
from tests.conftest import ROOT
from tests.video.clips import run as encode
from tests.video.samples import params, sample

LIMITS = Limits(workers=1, timeout_s=5, memory_mb=400)


def work(path: Path) -> str:
    """Do to a process what the name of the file says."""
    if path.name == "refuse":
        raise MediaError("corrupt", "3 damaged")
    if path.name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if path.name == "eat":
        np.ones(1 << 30, dtype=np.uint8)
    if path.name == "ctrl-c":
        return "blocked" if signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()) else "not blocked"
    if path.name == "bug":
        raise ZeroDivisionError("a fault of ours")
    return path.name


@pytest.mark.parametrize(
    ("reason", "lasts"),
    [("corrupt", True), ("crashed", False), ("out of memory", False), ("timeout", False), ("inaccessible", False)],
)
def test_only_what_the_bytes_are_to_blame_for_lasts(reason: Reason, lasts: bool) -> None:
    assert MediaError(reason, "").lasts == lasts


def outcomes(names: list[str], limits: Limits = LIMITS) -> list[str]:
    with Sandbox(limits) as sandbox:
        results = sandbox.map(work, [Path(name) for name in names], Path)
        return [result.reason if isinstance(result, MediaError) else result for result in results]


def test_a_crash_and_too_much_memory_cost_one_task_each_and_the_order_stays() -> None:
    names = ["a", "crash", "b", "refuse", "eat", "c"]
    assert outcomes(names) == ["a", "crashed", "b", "corrupt", "out of memory", "c"]


@pytest.mark.slow
def test_a_worker_that_ignores_being_asked_to_stop_is_killed() -> None:
    assert outcomes(["a", "hang", "b"], Limits(workers=1, timeout_s=3, memory_mb=400)) == ["a", "timeout", "b"]


def test_any_exception_costs_one_task_and_says_where_it_was_raised() -> None:
    with Sandbox(LIMITS) as sandbox:
        first, bug, last = sandbox.map(work, [Path("a"), Path("bug"), Path("b")], Path)
    assert (first, last) == ("a", "b")
    assert isinstance(bug, MediaError)
    assert (bug.reason, bug.lasts) == ("internal error", False)
    assert re.fullmatch(r"ZeroDivisionError in workers\.py:\d+: a fault of ours", bug.detail)


def test_a_file_that_the_system_does_not_let_us_read_costs_one_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "00001.jpg").symlink_to("00001.jpg")
    Image.new("RGB", (32, 32)).save("picture.png")
    with socket(AF_UNIX) as listener, Sandbox(LIMITS) as sandbox:
        listener.bind("clip.mp4")
        taken, *refused = sandbox.map(probe, [Path("picture.png"), Path("clip.mp4"), Path("circle")], Path)
    assert isinstance(taken, MediaInfo)
    assert [result.reason for result in refused if isinstance(result, MediaError)] == ["inaccessible", "inaccessible"]


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "megabytes"), [("pillow", 128), ("qwen-vl-utils", 1200)])
def test_too_little_memory_for_a_frame_is_called_that_and_not_damage(
    tmp_path: Path, kernel: str, megabytes: int
) -> None:
    picture = ffmpeg.input("color=red:s=8192x8192:r=1:d=1", f="lavfi")
    encode(picture.output(str(tmp_path / "large.mp4"), vcodec="libx264", preset="ultrafast", pix_fmt="yuv420p"))
    (reject,) = extract(
        [sample("large", tmp_path / "large.mp4")],
        params(kernel=kernel, memory_mb=megabytes),
        tmp_path / "frames",
        tmp_path / "frames.parquet",
        stage="frames",
    )
    assert (reject.reason, reject.detail.split(": ")[1]) == (
        "out of memory",
        f"needs more than memory_mb = {megabytes}",
    )


@pytest.mark.slow
def test_workers_do_not_see_ctrl_c_not_even_while_they_start_and_this_process_does() -> None:
    script = """
from pathlib import Path
from tests.video.test_workers import outcomes, work
if __name__ == "__main__":
    print(outcomes(["ctrl-c", "crash", "ctrl-c"]), work(Path("ctrl-c")))
"""
    fresh = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert fresh.stdout == "['blocked', 'crashed', 'blocked'] not blocked\n"


def test_no_tasks_need_no_workers() -> None:
    assert outcomes([]) == []


def test_results_come_while_later_tasks_are_not_even_started() -> None:
    with Sandbox(LIMITS) as sandbox:
        results = sandbox.map(work, map(Path, map("task-{}".format, count())), Path)
        assert next(results) == "task-0"
