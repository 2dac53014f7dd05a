"""The form of backups: what tar opens, what is refused, and that each damage is found."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from infernet_edge.backup.archive import (
    MAX_FILES,
    MAX_SMALL,
    ArchiveWriter,
    Manifest,
    UnusableArchive,
    Verification,
    read_archive,
)
from infernet_edge.config.model import DATABASE
from tests.support.archives import MANIFEST, make_archive, with_member

CONTENT = bytes(range(256)) * 20


def read(archive: bytes) -> tuple[Manifest, Verification]:
    """Read all of an archive."""
    checked = Verification()
    for opened in read_archive(io.BytesIO(archive)):
        checked.copy(opened, None)
    return checked.finish(), checked


def test_what_was_written_is_read() -> None:
    archive = make_archive(CONTENT, {"configuration.toml": b"[server]", "tokens.json": b"{}"})
    manifest, checked = read(archive)
    assert checked.small(DATABASE) == CONTENT
    assert checked.small("configuration.toml") == b"[server]"
    assert [file.name for file in manifest.files] == [
        "configuration.toml",
        "tokens.json",
        DATABASE,
    ]
    assert msgspec.structs.replace(manifest, files=[]) == MANIFEST


def test_common_tools_open_it(tmp_path: Path) -> None:
    archive = tmp_path / "b.tar"
    archive.write_bytes(make_archive(CONTENT, {"secrets/0": b"key"}))
    done = subprocess.run(
        ["tar", "--extract", "--verbose", "--file", archive, "--directory", tmp_path],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stderr == ""
    names = ["secrets/0", DATABASE, "manifest.json", "manifest.json.sha256"]
    assert done.stdout.split() == names
    assert (tmp_path / DATABASE).read_bytes() == CONTENT
    assert (tmp_path / DATABASE).stat().st_mode & 0o077 == 0
    subprocess.run(
        ["sha256sum", "--check", "--status", "manifest.json.sha256"],
        cwd=tmp_path,
        timeout=20,
        check=True,
    )
    with tarfile.open(archive) as opened:
        assert opened.getnames() == names


def test_each_changed_byte_is_found() -> None:
    archive = make_archive(CONTENT[:700], {"tokens.json": b"{}"})
    read(archive)
    for place in range(len(archive)):
        damaged = bytearray(archive)
        damaged[place] ^= 0x41
        with pytest.raises(UnusableArchive):
            read(bytes(damaged))


def test_each_shorter_archive_is_incomplete() -> None:
    archive = make_archive(CONTENT[:700])
    for size in range(0, len(archive), 7):
        with pytest.raises(UnusableArchive):
            read(archive[:size])


def test_zeros_may_follow_and_nothing_else() -> None:
    archive = make_archive(CONTENT)
    read(archive + bytes(10240))
    with pytest.raises(UnusableArchive, match="follows"):
        read(archive + bytes(10240) + b"x")
    with pytest.raises(UnusableArchive, match="follows"):
        read(archive + bytes(10 * 2**20))


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "a/../../b", "secrets/../x", "secrets/1234", "lock", "x", "", "./"],
)
def test_other_names_are_refused(name: str) -> None:
    member = tarfile.TarInfo(name)
    with pytest.raises(UnusableArchive, match="no backup"):
        read(with_member(make_archive(CONTENT), member))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.GNUTYPE_SPARSE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
    ],
)
def test_other_kinds_of_members_are_refused(kind: bytes) -> None:
    member = tarfile.TarInfo("tokens.json")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(UnusableArchive, match="no backup"):
        read(with_member(make_archive(CONTENT), member))


@pytest.mark.parametrize("name", ["tokens.json", "manifest.json", "secrets/0"])
def test_a_huge_member_is_refused_before_it_is_read(name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = 2**60
    with pytest.raises(UnusableArchive, match=f"at most {MAX_SMALL} are read"):
        read(with_member(make_archive(CONTENT), member))


def test_a_member_may_be_there_once() -> None:
    twice = make_archive(CONTENT, {"tokens.json": b"{}"})
    with pytest.raises(UnusableArchive, match="no backup"):
        read(with_member(twice, tarfile.TarInfo("tokens.json")))


def test_the_number_of_files_is_limited() -> None:
    output = io.BytesIO()
    writer = ArchiveWriter(output)
    for number in range(MAX_FILES + 1):
        writer.add(f"secrets/{number}", 0, [])
    with pytest.raises(UnusableArchive, match=f"more than {MAX_FILES} files"):
        read(output.getvalue() + bytes(1024))


def test_a_newer_form_names_the_version_that_is_needed() -> None:
    newer = msgspec.structs.replace(MANIFEST, format=2, version="9.1.0")
    with pytest.raises(UnusableArchive, match=r"9\.1\.0.*use that version or a later one"):
        read(make_archive(CONTENT, manifest=newer))


def test_other_files_are_no_backup() -> None:
    for content in (b"", b"text", b"PK\x03\x04" + bytes(5000), bytes(range(256)) * 8):
        with pytest.raises(UnusableArchive):
            read(content)
    empty = bytes(1024)
    with pytest.raises(UnusableArchive, match=r"no manifest\.json"):
        read(empty)


def test_a_database_that_changed_its_size_is_not_written_as_whole() -> None:
    writer = ArchiveWriter(io.BytesIO())
    with pytest.raises(UnusableArchive, match="has 3 bytes instead of 4"):
        writer.add(DATABASE, 4, [b"abc"])
