"""The source folder.

What is refused before it is read, and changes that are noticed.
"""

import os
import socket
from pathlib import Path

import pytest

from stages.data.source_folder import unchanged
from stages.run.errors import UserError


def test_a_named_pipe_or_socket_is_refused_by_name_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clips").mkdir()
    os.mkfifo(tmp_path / "clips" / "pipe.mp4")
    with pytest.raises(UserError, match=r"clips/pipe\.mp4 is a named pipe, .*; remove it"), unchanged(tmp_path):
        pass
    (tmp_path / "clips" / "pipe.mp4").unlink()
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(UserError, match="is a named pipe, a socket or a device"), unchanged(tmp_path):
            pass


def test_links_that_lead_nowhere_or_in_circles_are_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    (tmp_path / "self").symlink_to(tmp_path)
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    with unchanged(tmp_path):
        pass


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"1")
    with pytest.raises(UserError, match="changed while it was read"), unchanged(tmp_path):
        (tmp_path / "a.mp4").write_bytes(b"12")
