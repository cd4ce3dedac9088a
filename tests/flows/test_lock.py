import os
import subprocess
import sys
import threading
from pathlib import Path

from flows.lock import hold
from flows.process_tree import CommandRunner


def test_the_second_waits_and_learns_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "flow.lock"
    heard: list[str] = []
    order: list[str] = []
    waiting = threading.Event()

    def note(holder: str) -> None:
        heard.append(holder)
        waiting.set()

    def second() -> None:
        with hold(path, "second run", note):
            order.append("second")

    with hold(path, "first run", heard.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join(60)
    assert heard == ["first run"]
    assert order == ["first", "second"]


def test_the_lock_lasts_until_the_last_process_that_has_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "flow.lock"
    script = "import sys; sys.stdin.read()"
    with hold(path, "killed run", lambda holder: None) as lock:
        survivor = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, pass_fds=(lock,))
    heard: list[str] = []

    def end_survivor(holder: str) -> None:
        heard.append(holder)
        survivor.communicate()

    with hold(path, "next run", end_survivor):
        assert heard == ["killed run"]


def test_a_supervisor_holds_the_locks_of_its_flow(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "import os; print(os.path.realpath(f'/proc/{os.getppid()}/fd/{FD}'))"
    with hold(tmp_path / "flow.lock", "run", lambda holder: None) as lock, CommandRunner([lock]) as runner:
        runner.run([sys.executable, "-c", script.replace("{FD}", str(lock))], tmp_path, os.environ, lines.append)
    assert lines == [str((tmp_path / "flow.lock").resolve())]
