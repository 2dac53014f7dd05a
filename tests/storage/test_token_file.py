"""The file of the tokens: durable, private, and never taken for empty when it is damaged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infernet_edge.storage.token_file import (
    FILE_NAME,
    MAX_REVOKED,
    MAX_TOKENS,
    Anchor,
    DamagedTokens,
    MadeToken,
    StoredTokens,
    TokenFile,
    hash_of,
    new_token,
)


def token(name: str, revoked_at: int | None = None) -> MadeToken:
    digest = hash_of(name.encode())
    return MadeToken(name, "submit", digest, 1, expires_at=2, last_used_at=3, revoked_at=revoked_at)


def test_it_reads_what_it_wrote(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    assert file.read() == StoredTokens()
    stored = StoredTokens([token("a"), token("b"), token("c", revoked_at=9)], Anchor(5, 6))
    file.write(stored)
    assert file.read() == stored
    assert [each.name for each in file.read().valid] == ["a", "b"]
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_token_cannot_be_guessed_and_its_hash_is_of_all_of_it() -> None:
    made = {new_token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(each) == 4 + 32 and each.isascii() for each in made)  # 192 bits in base64
    assert hash_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_oldest_revoked_ones_are_forgotten(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    revoked = [token(f"r{number}", revoked_at=number) for number in range(MAX_REVOKED + 5)]
    file.write(StoredTokens([*revoked, token("a")]))
    names = [each.name for each in file.read().tokens]
    assert names == ["a", *(f"r{number}" for number in range(5, MAX_REVOKED + 5))]


def test_a_full_file_can_be_read(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    longest = [
        MadeToken(f"{number:064}", "operator", "f" * 64, 2**53, 2**53, 2**53, revoked_at)
        for number in range(MAX_TOKENS)
        for revoked_at in (None, 2**53)
    ]
    stored = StoredTokens(longest, Anchor(2**53, 2**53))
    file.write(stored)
    assert len(file.read().tokens) == MAX_TOKENS + MAX_REVOKED
    assert file.path.stat().st_size < 256 * 2**10 / 2


def test_any_changed_or_missing_byte_is_noticed(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    stored = StoredTokens([token("a"), token("b")], Anchor(5, 6))
    file.write(stored)
    intact = file.path.read_bytes()
    for position in range(len(intact) - 1):  # the last one is the end of the line
        for changed in (intact[position] ^ 1, intact[position] ^ 0x80, 0):
            file.path.write_bytes(intact[:position] + bytes([changed]) + intact[position + 1 :])
            with pytest.raises(DamagedTokens):
                file.read()
    for length in range(len(intact) - 1):
        file.path.write_bytes(intact[:length])
        with pytest.raises(DamagedTokens):
            file.read()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b"null", "damaged"),
        (b"\xff" * 100, "damaged"),
        (b"[" * 200_000, "damaged"),
        (b'{"version": 2, "sha256": "", "content": {}}', "another version"),
        (b'{"version": 1, "sha256": "", "content": {}}', "checksum"),
        (b" " * 300_000, "larger than"),
    ],
)
def test_a_damaged_file_has_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    file = TokenFile(tmp_path)
    file.path.write_bytes(content)
    with pytest.raises(DamagedTokens, match=reason):
        file.read()


def test_a_file_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    file.path.mkdir()
    with pytest.raises(DamagedTokens, match="cannot be read"):
        file.read()
    with pytest.raises(OSError, match="directory"):
        file.write(StoredTokens())
    loop = TokenFile(tmp_path / "loop")
    loop.path.parent.mkdir()
    loop.path.symlink_to(loop.path)
    with pytest.raises(DamagedTokens, match="cannot be read"):
        loop.read()


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / f"{FILE_NAME}.new").symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        TokenFile(tmp_path).write(StoredTokens([token("a")]))
    assert other.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given away by root alone")
def test_written_by_root_it_belongs_to_the_user_of_the_node(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    file = TokenFile(tmp_path)
    file.write(StoredTokens([token("a")]))
    assert (file.path.stat().st_uid, file.path.stat().st_gid) == (65534, 65534)


_WRITER = """
import sys
from pathlib import Path
from infernet_edge.storage.token_file import MadeToken, StoredTokens, TokenFile
file = TokenFile(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    token = MadeToken(f"t{number}", "read", f"{number:064x}", number)
    file.write(StoredTokens([token] * (1 + number % 50)))
    print(number, flush=True)
"""


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    random.seed(5)
    for _ in range(10):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(random.random() / 10)
        writer.kill()
        written = [int(line) for line in writer.stdout.read().split()]
        writer.wait()
        writer.stdout.close()
        stored = TokenFile(tmp_path).read().tokens
        last = written[-1] if written else 0
        if written:
            assert int(stored[0].name[1:]) in (last, last + 1)
            assert len(stored) == 1 + int(stored[0].name[1:]) % 50
        TokenFile(tmp_path).write(StoredTokens([token("a")]))
