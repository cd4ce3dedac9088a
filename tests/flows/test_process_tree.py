"""Real processes: what a flow starts ends with it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from flows.process_tree import ENDED, CommandRunner

ROOT = Path(__file__).parents[2]

# Starts a process in a session of its own, as torchrun does, writes both ids and sleeps.
FAMILY = """\
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""

FLOW = """\
import os, sys
from pathlib import Path
from flows.process_tree import CommandRunner
with CommandRunner([]) as runner:
    runner.run([sys.executable, sys.argv[1]], Path.cwd(), os.environ, lambda line: print(line, flush=True))
"""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    path = tmp_path / "family.py"
    path.write_text(FAMILY)
    return path


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def ends(pids: list[int]) -> bool:
    """Whether all the processes are gone before a minute is over."""
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_lines_arrive_in_order_and_the_exit_status_is_passed_on(tmp_path: Path) -> None:
    lines: list[str] = []
    with CommandRunner([]) as runner:
        script = "import sys; print('one'); print('two', flush=True); print('three', file=sys.stderr); sys.exit(7)"
        status = runner.run([sys.executable, "-c", script], tmp_path, os.environ, lines.append)
    assert lines == ["one", "two", "three"]
    assert status == 7


@pytest.mark.slow
def test_leaving_the_context_ends_the_command_and_all_that_descends_from_it(tmp_path: Path, family: Path) -> None:
    lines: list[str] = []
    statuses: list[int] = []
    started = threading.Event()

    def take(line: str) -> None:
        lines.append(line)
        started.set()

    with CommandRunner([]) as runner:
        command = [sys.executable, str(family)]
        thread = threading.Thread(target=lambda: statuses.append(runner.run(command, tmp_path, os.environ, take)))
        thread.start()
        assert started.wait(60)
        pids = [int(pid) for pid in lines[0].split()]
        assert all(is_alive(pid) for pid in pids)
    thread.join(60)
    assert statuses == [ENDED]
    assert ends(pids)


@pytest.mark.slow
def test_a_killed_flow_leaves_no_process(tmp_path: Path, family: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FLOW, str(family)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as flow:
        assert flow.stdout
        pids = [int(pid) for pid in flow.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        flow.kill()
    assert ends(pids)


def test_what_a_finished_command_left_behind_is_ended(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; quiet = subprocess.DEVNULL; "
        "print(subprocess.Popen("
        "[sys.executable, '-c', 'import time; time.sleep(600)'], "
        "stdout=quiet, stderr=quiet, start_new_session=True).pid)"
    )
    lines: list[str] = []
    with CommandRunner([]) as runner:
        assert runner.run([sys.executable, "-c", script], tmp_path, os.environ, lines.append) == 0
    assert ends([int(lines[0])])


def test_nothing_starts_once_the_context_is_left(tmp_path: Path) -> None:
    with CommandRunner([]) as runner:
        pass
    assert runner.run([sys.executable, "-c", "open('trace', 'w')"], tmp_path, os.environ, lambda line: None) == ENDED
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_no_more_commands_run_at_once_than_allowed(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; open(f'in-{sys.argv[1]}', 'x'); time.sleep(0.3); "
        "print(sum(name.startswith('in-') for name in os.listdir())); os.remove(f'in-{sys.argv[1]}')"
    )
    seen: list[str] = []
    with CommandRunner([], parallel=1) as runner:
        commands = [[sys.executable, "-c", script, str(i)] for i in range(3)]
        threads = [
            threading.Thread(target=runner.run, args=(command, tmp_path, os.environ, seen.append))
            for command in commands
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == ["1", "1", "1"]
