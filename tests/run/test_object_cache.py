"""Copies of objects, from a real S3-compatible server that fails where a test says so."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stages.run import objects
from stages.run.addresses import Address
from stages.run.errors import UserError
from stages.run.object_cache import local_file
from stages.run.objects import ObjectError
from tests.conftest import ROOT
from tests.object_server import KEY_ID, SECRET, Fault, ObjectServer, object_server

pytestmark = pytest.mark.integration

COPY = """
import sys
from stages.run.addresses import Address
from stages.run.object_cache import local_file
with local_file(Address.parse(sys.argv[1])):
    pass
"""  # a program that fetches the object at the address it is given


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with pytest.MonkeyPatch.context() as patch, object_server(patch, tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.fixture
def server(started: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The server without faults, and an empty cache `objects` in the folder of the test."""
    monkeypatch.setenv("OBJECT_CACHE", str(tmp_path / "objects"))
    started.faults.clear()
    started.requests.clear()
    return started


def read(address: str, sha256: str = "") -> bytes:
    with local_file(Address.parse(address), sha256) as local:
        return local.path.read_bytes()


def refusal(address: str, sha256: str = "") -> tuple[str, str]:
    with pytest.raises(ObjectError) as error:
        read(address, sha256)
    return error.value.reason, error.value.detail


def files(folder: Path) -> int:
    """How many copies the cache has, whole or not."""
    return sum(path.suffix in (".mp4", ".part") for path in (folder / "objects").iterdir())


def test_an_object_of_several_parts_is_fetched_once_and_again_when_it_has_changed(server: ObjectServer) -> None:
    first, second = os.urandom(objects.PART + 3), b"second"
    address = server.put("once/a.mp4", first)
    assert read(address) == first
    assert (server.count("HEAD"), server.count("GET")) == (2, 2)
    server.requests.clear()
    assert read(address) == first
    assert server.requests == ["HEAD /bucket/once/a.mp4"]
    server.put("once/a.mp4", second)
    assert read(address) == second


def test_an_empty_object_is_an_empty_file(server: ObjectServer) -> None:
    assert read(server.put("empty.mp4", b"")) == b""


def test_a_copy_with_known_bytes_needs_no_server_and_a_changed_object_is_refused(server: ObjectServer) -> None:
    address = server.put("known/a.mp4", b"first")
    sha256 = hashlib.sha256(b"first").hexdigest()
    assert read(address, sha256) == b"first"
    server.put("known/a.mp4", b"other")
    server.requests.clear()
    assert read(address, sha256) == b"first"
    assert server.requests == []
    assert refusal(address, hashlib.sha256(b"unknown").hexdigest())[0] == "changed"


@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        ("503", "unreachable", "the server answered with status 503"),
        ("cut", "unreachable", "the server sent no whole answer in 3 attempts, after byte 0"),
        ("slow", "unreachable", "the server sent no whole answer in 3 attempts, after byte 0"),
        ("denied", "inaccessible", "the server denies the permission; check the credentials"),
    ],
)
def test_a_server_that_fails_is_a_reason_and_leaves_no_part_of_a_file(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, reason: str, detail: str
) -> None:
    monkeypatch.setattr(objects, "PART_S", 1)
    address = server.put(f"fault/{fault}.mp4", b"x" * 1000)
    server.faults[f"{fault}.mp4"] = fault
    assert refusal(address) == (reason, detail)
    assert files(tmp_path) == 0
    server.faults.clear()
    assert read(address) == b"x" * 1000


def test_a_key_that_is_missing_or_a_folder_is_a_reason(server: ObjectServer) -> None:
    server.put("folder/a.mp4", b"x")
    assert refusal("s3://bucket/nowhere.mp4") == ("missing", "the server has no such object")
    assert refusal("s3://no-such-bucket/a.mp4")[0] == "missing"
    assert refusal("s3://bucket/folder")[0] == "missing"


def test_an_object_that_changes_while_it_is_read_is_refused(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.put("moving.mp4", b"x" * 10)
    part = objects._bytes

    def change(*arguments: object) -> bytes:
        server.put("moving.mp4", b"y" * 10)
        return part(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(objects, "_bytes", change)
    assert refusal(address) == ("changed", "the object changed while it was read")


def test_the_longest_unused_copies_make_room_but_none_that_is_in_use(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBJECT_CACHE_GB", "0.000003")  # 3,000 bytes
    first, second, third = (server.put(f"room/{name}.mp4", name.encode() * 1000) for name in "abc")
    with local_file(Address.parse(first)) as used:
        for address in (second, third, server.put("room/d.mp4", b"d" * 1000)):
            read(address)
        assert used.path.read_bytes() == b"a" * 1000
    assert files(tmp_path) == 3
    server.requests.clear()
    assert read(third) == b"c" * 1000
    assert read(second) == b"b" * 1000
    assert server.count("GET") == 1  # the second made room
    with local_file(Address.parse(first)):
        reason, detail = refusal(server.put("room/large.mp4", b"l" * 2001))
    assert (reason, detail) == (
        "inaccessible",
        "its 2e-06 GB do not fit into a cache of 3e-06 GB; raise OBJECT_CACHE_GB",
    )


def test_a_damaged_copy_is_fetched_again(server: ObjectServer) -> None:
    address = server.put("damaged.mp4", b"whole")
    with local_file(Address.parse(address)) as local:
        path = local.path
    path.write_bytes(b"other")
    assert read(address) == b"whole"


def test_offline_the_copies_are_read_and_no_server_is_asked(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, never = server.put("off/a.mp4", b"a"), server.put("off/b.mp4", b"b")
    read(address)
    monkeypatch.setenv("OFFLINE", "1")
    server.requests.clear()
    assert read(address) == b"a"
    assert refusal(never) == ("unreachable", "OFFLINE=1 is set, and the cache has no copy")
    assert server.requests == []


def test_several_at_once_fetch_an_object_once(server: ObjectServer) -> None:
    address = server.put("together.mp4", b"x" * 1_000_000)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, [address] * 4)) == {b"x" * 1_000_000}
    assert server.count("GET") == 1


def test_a_killed_download_does_no_harm(server: ObjectServer, tmp_path: Path) -> None:
    address = server.put("killed.mp4", b"x" * 1000)
    server.faults["killed.mp4"] = "slow"
    with subprocess.Popen([sys.executable, "-c", COPY, address], cwd=ROOT) as process:
        while not server.count("GET"):
            assert process.poll() is None
        process.kill()
    assert files(tmp_path) == 1
    server.faults.clear()
    assert read(address) == b"x" * 1000
    assert files(tmp_path) == 1


def test_without_credentials_the_reason_says_so(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    address = server.put("closed.mp4", b"x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    objects._filesystem.cache_clear()
    try:
        assert refusal(address) == ("inaccessible", "the environment has no credentials for the server")
    finally:
        objects._filesystem.cache_clear()


@pytest.mark.parametrize("fault", ["503", "denied", "cut"])
def test_no_message_holds_a_key_or_what_the_server_says(server: ObjectServer, fault: Fault) -> None:
    address = server.put("words.mp4", b"x" * 100)
    server.faults["words.mp4"] = fault
    assert not {KEY_ID, SECRET} & set(" ".join(refusal(address)).replace(":", " ").split())
    assert SECRET not in refusal(address)[1]


def test_a_missing_package_is_one_line_that_says_what_to_install(server: ObjectServer) -> None:
    address = server.put("package.mp4", b"x")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules['s3fs'] = None\n{COPY}", address],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        "stages.run.errors.UserError: s3:// addresses need another package: pip install '.[s3]'"
    )


def test_a_limit_that_is_no_number_is_one_line(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBJECT_CACHE_GB", "much")
    with pytest.raises(UserError, match="OBJECT_CACHE_GB is 'much'; it is a number of gigabytes"):
        read(server.put("limit.mp4", b"x"))
