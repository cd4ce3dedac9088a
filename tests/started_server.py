"""Other people's server programs, started for a test."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], health: str, log: Path, seconds: float
) -> Iterator[None]:
    """Run a program until the block ends, from when `health` answers on.

    AssertionError with the end of its log when it ends before, or does not answer within `seconds`.
    """
    with log.open("w") as file, subprocess.Popen(command, env=environment, stdout=file, stderr=file) as process:
        try:
            _wait_until_ready(process, health, log, seconds)
            yield
        finally:
            process.terminate()


def _wait_until_ready(process: "subprocess.Popen[bytes]", health: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urlopen(health, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise AssertionError(f"the server is not ready after {seconds} s: {log.read_text()[-3000:]}")
