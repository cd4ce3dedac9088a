import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flows import dvc
from flows.errors import UsageError
from flows.watch import Watch, fingerprint
from tests.conftest import ROOT
from tests.flows.conftest import edit


def test_a_fingerprint_follows_names_sizes_and_times(tmp_path: Path) -> None:
    nothing = fingerprint(tmp_path / "videos")
    (tmp_path / "videos" / "deep").mkdir(parents=True)
    file = tmp_path / "videos" / "deep" / "a.mp4"
    prints = [nothing]
    for content, name in [(b"1", "a.mp4"), (b"12", "a.mp4"), (b"12", "b.mp4")]:
        (file.parent / name).write_bytes(content)
        os.utime(file.parent / name, ns=(5, 5))
        prints.append(fingerprint(tmp_path / "videos"))
    os.utime(file, ns=(5, 6))
    prints.append(fingerprint(tmp_path / "videos"))
    assert len(set(prints)) == 5
    assert fingerprint(tmp_path / "videos") == prints[-1]


def test_a_link_to_itself_is_left_out_and_a_named_pipe_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"1")
    before = fingerprint(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert fingerprint(tmp_path) == before
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"pipe is a named pipe, .*; remove it from the source folder"):
        fingerprint(tmp_path)


@pytest.mark.integration
@pytest.mark.timeout(60)  # DVC waits for ever
def test_a_named_pipe_in_a_source_folder_ends_a_run_before_dvc_reads_it(toy: Path) -> None:
    edit(toy, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    (toy / "videos").mkdir()
    os.mkfifo(toy / "videos" / "pipe")
    with pytest.raises(UsageError, match="videos/pipe is a named pipe"):
        dvc.snapshot(toy)


def test_what_stages_make_and_what_git_holds_is_no_source(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "clone")
    assert dvc.source_folders(tmp_path / "clone") == []
    edit(tmp_path / "clone", "root: data/shapes", "root: data/mine", file="params.yaml")
    assert dvc.source_folders(tmp_path / "clone") == [tmp_path / "clone" / "data" / "mine"]


@pytest.mark.integration
def test_new_data_starts_a_run_once_it_has_settled(toy: Path) -> None:
    edit(toy, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    videos = toy / "videos"
    videos.mkdir()
    started: list[list[str]] = []

    def look(watch: Watch) -> int:
        watch.look(lambda folders: started.append(list(folders)))
        return len(started)

    assert dvc.source_folders(toy) == [videos]
    watch = Watch(toy)
    assert look(watch) == 0
    (videos / "a.mp4").write_bytes(b"1")  # right after the first look
    assert look(watch) == 0
    (videos / "b.mp4").write_bytes(b"1")
    assert look(watch) == 0, "it still changes"
    assert [look(watch), look(watch)] == [1, 1]
    assert started == [[str(videos)]]
    (videos / "b.mp4").unlink()
    again = Watch(toy)  # what changed while nobody watched is found too
    assert [look(again), look(again), look(again)] == [1, 2, 2]


@pytest.mark.integration
def test_the_folders_that_are_watched_are_named_with_the_time(toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="flows.watch")

    def said() -> list[str]:
        Watch(toy).look(lambda folders: None)
        lines = list(caplog.messages)
        caplog.clear()
        return lines

    assert said() == ["no source folder to watch: a stage makes all the data"]
    edit(toy, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    [first], [second] = said(), said()
    assert re.fullmatch(rf"watching {toy}/videos: a change from now on \(\d\d:\d\d:\d\d\) starts a run", first)
    assert re.fullmatch(rf"watching {toy}/videos: a change since 20\S+ \d\d:\d\d:\d\d starts a run", second)


@pytest.mark.integration
def test_data_stays_new_until_a_run_could_be_started(toy: Path) -> None:
    edit(toy, "deps: [stage.py]", "deps: [stage.py, videos]", file="dvc.yaml")
    (toy / "videos").mkdir()
    watch = Watch(toy)
    started: list[str] = []
    watch.look(started.extend)
    watch.look(started.extend)
    (toy / "videos" / "a.mp4").write_bytes(b"1")
    watch.look(started.extend)

    def refuse(folders: object) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        watch.look(refuse)
    watch.look(started.extend)
    assert started == [str(toy / "videos")]


@pytest.mark.integration
def test_a_dvc_yaml_that_cannot_be_read_is_one_line(toy: Path) -> None:
    edit(toy, "stages:", "stages: [", file="dvc.yaml")
    with pytest.raises(UsageError, match=r"dvc\.yaml"):
        dvc.source_folders(toy)
