"""Hostile and damaged archives are one line each, and write nothing outside."""

import io
import os
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.evaluation import archives
from stages.evaluation.archives import unpack
from stages.run.errors import UserError


@dataclass
class DiskUsage:
    free: int


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def named(name: str, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(archive: Path, line: str) -> None:
    """The archive is refused in one line, and nothing but the archive is in its folder and beside it."""
    before = tree(archive.parent.parent)
    with pytest.raises(UserError, match=line) as error:
        unpack(archive)
    assert "\n" not in str(error.value)
    assert tree(archive.parent.parent) == before


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def test_files_come_to_their_places_once(inside: Path) -> None:
    archive = zip_of(inside / "a.zip", {"videos/1.mp4": b"one", "2.mp4": b"two"})
    unpack(archive)
    assert tree(inside) == [".a.zip.unpacked", "2.mp4", "a.zip", "videos/1.mp4"]
    (inside / "2.mp4").unlink()
    unpack(archive)
    assert not (inside / "2.mp4").exists()
    tar = tar_of(inside / "b.tar", named("videos/3.mp4", 5))
    unpack(tar)
    assert (inside / "videos" / "3.mp4").read_bytes() == bytes(5)


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "a\\..\\escaped"])
def test_a_member_outside_the_folder_is_refused(inside: Path, name: str) -> None:
    refused(zip_of(inside / "a.zip", {name: b"x"}), "a.zip: cannot be unpacked: its member .* outside its folder")
    refused(tar_of(inside / "a.tar", named(name, 1)), "a.tar: cannot be unpacked: its member .* outside its folder")


def test_a_long_chain_of_links_is_refused_whatever_the_python(inside: Path) -> None:
    """As in CVE-2025-4517: folders and links whose resolved path is too long for the check of `tarfile`."""
    long = "d" * 247
    steps = "abcdefghijklmnop"
    members, path = [], ""
    for step in steps:
        folder = tarfile.TarInfo(os.path.join(path, long))
        folder.type = tarfile.DIRTYPE
        members += [folder, link(os.path.join(path, step), long)]
        path = os.path.join(path, long)
    chain = "/".join(steps)
    members += [
        link(os.path.join(chain, "l" * 254), "../" * len(steps)),
        link("escape", chain + "/../../../../outside"),
    ]
    refused(tar_of(inside / "a.tar", *members, named("escape/written", 1)), "is a link or a device")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused_even_within_the_folder(inside: Path, kind: bytes) -> None:
    refused(tar_of(inside / "a.tar", named("x", 1), link("y", "x", kind)), "'y' is a link or a device")


def test_a_link_in_a_zip_is_refused(inside: Path) -> None:
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("y")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(inside / "a.zip", "'y' is a link")


def test_damaged_encrypted_and_unknown_archives_are_one_line(inside: Path) -> None:
    (inside / "cut.zip").write_bytes(b"PK\x03\x04")
    refused(inside / "cut.zip", r"cut.zip: cannot be unpacked: .* delete it")
    whole = zip_of(inside / "a.zip", {"1.mp4": b"content " * 100}).read_bytes()
    central = whole.index(b"PK\x01\x02")
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[central + 8] |= 1
    (inside / "a.zip").write_bytes(encrypted)
    refused(inside / "a.zip", "encrypted")
    unknown = bytearray(whole)
    unknown[8] = unknown[central + 10] = 77
    (inside / "a.zip").write_bytes(unknown)
    refused(inside / "a.zip", "compression method")
    broken = bytearray(whole)
    broken[60] ^= 255
    (inside / "a.zip").write_bytes(broken)
    refused(inside / "a.zip", "CRC.* delete it")
    (inside / "a.tar").write_bytes(tar_of(inside / "a.tar", named("x", 9000)).read_bytes()[:2000])
    refused(inside / "a.tar", "delete it")


def test_a_file_where_a_folder_is_and_two_members_of_one_name_are_one_line(inside: Path) -> None:
    refused(tar_of(inside / "a.tar", named("x", 1), named("x/y", 1)), "is a file in one place and a folder in another")
    refused(tar_of(inside / "a.tar", named("x", 1), named("x", 2)), "is a file in one place")


def test_nothing_that_is_there_is_replaced(inside: Path) -> None:
    (inside / "records.json").write_text("[1]")
    refused(zip_of(inside / "a.zip", {"records.json": b"[2]"}), "'records.json' is already there with other bytes")
    refused(zip_of(inside / "b.zip", {".b.zip.unpacked": b""}), "would replace the archive or its mark")
    unpack(zip_of(inside / "c.zip", {"records.json": b"[1]"}))  # the same bytes: a run that was killed moved them
    assert (inside / "records.json").read_text() == "[1]"


def test_a_limit_on_the_number_of_files(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_FILES", 2)
    refused(zip_of(inside / "a.zip", {"1": b"", "2": b"", "3": b""}), "more than 2 files")


def test_what_does_not_fit_on_the_disk_is_said_before_it_is_written(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inside / "b.tar").write_bytes(named("big", 1 << 62).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refused(inside / "b.tar", "one of more than 16 TiB")
    archive = zip_of(inside / "a.zip", {"1.mp4": bytes(3 << 20)})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: DiskUsage(1 << 20))
    refused(archive, "unpacks to 3 MiB, but only 1 MiB are free")
