"""The file of the tokens that were made by `token new`: tokens.json in the storage folder.

It is a file and not a table: a damaged database is replaced by what can be read of it, and the node
must not lose its tokens with it, since a node without tokens admits everybody. And a command can
change it while no node runs, without a second program that writes the database.

A token itself is not stored, only its SHA-256. A token has 192 random bits, which cannot be found
by trying, so that a slow hash such as scrypt would protect nothing more. A checksum over the
content detects damage. A file that cannot be read is never taken for one without tokens.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from infernet_edge.errors import InfernetEdgeError
from infernet_edge.schema import TokenScope

FILE_NAME: Final = "tokens.json"

MAX_TOKENS: Final = 100
"""Tokens that may be valid at the same time, besides those of the configuration."""

MAX_REVOKED: Final = 100
"""Revoked tokens that are remembered, the newest, so that their holders get that reason."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_FORM: Final = "1 to 64 letters, digits, '.', '_' and '-', the first a letter or a digit"

_MAX_FILE = 256 * 2**10  # bytes; MAX_TOKENS and MAX_REVOKED of them take a third of this
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_VERSION: Final = 1
_RANDOM_BYTES: Final = 24  # 192 bits
_PREFIX: Final = "iet_"  # programs that search for leaked secrets can recognize it

_Moment = Annotated[int, Meta(ge=0, le=2**53)]


class DamagedTokens(InfernetEdgeError):
    """The file cannot be read, or its content is not what was written."""


class MadeToken(Struct, frozen=True, forbid_unknown_fields=True):
    """A token as it is stored; `hash` is its SHA-256, times in milliseconds since 1970."""

    name: Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
    scope: TokenScope
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_at: _Moment
    expires_at: _Moment | None = None
    last_used_at: _Moment | None = None
    revoked_at: _Moment | None = None


class Anchor(Struct, frozen=True):
    """A date that was right, and the node's own time at it (storage/elapsed.py); milliseconds."""

    date: _Moment
    elapsed: _Moment


class StoredTokens(Struct, frozen=True):
    """The content of the file: the tokens, also revoked ones, and a date for their expiry."""

    tokens: list[MadeToken] = []
    anchor: Anchor | None = None

    @property
    def valid(self) -> list[MadeToken]:
        """Those that were not revoked."""
        return [token for token in self.tokens if token.revoked_at is None]


class _File(Struct, frozen=True):
    version: int
    sha256: str
    content: Raw


def new_token() -> str:
    """A token with 192 random bits."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(token: bytes) -> str:
    """What is stored of a token: its SHA-256 in hex digits."""
    return hashlib.sha256(token).hexdigest()


class TokenFile:
    """Reads and writes the file in a folder. Blocks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def read(self) -> StoredTokens:
        """What is stored; nothing when there is no file. Raises DamagedTokens."""
        try:
            with self.path.open("rb") as file:
                content = file.read(_MAX_FILE + 1)
        except FileNotFoundError:
            return StoredTokens()
        except OSError as error:
            raise DamagedTokens(f"it cannot be read ({error.strerror})") from error
        if len(content) > _MAX_FILE:
            raise DamagedTokens(f"it is larger than {_MAX_FILE} bytes")
        return _decode(content)

    def write(self, stored: StoredTokens) -> None:
        """Replace the file, whole or not at all; when this returns, it is on the disk.

        Raises OSError.
        """
        new = self.path.with_name(f"{FILE_NAME}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(_encode(stored))
            file.flush()
            os.fsync(file.fileno())
            owner = self.path.parent.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:  # the node's user must be able to read it
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        new.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def keep_damaged(self, moment: int) -> Path:
        """Move a damaged file away, to a name with this time; raises OSError."""
        kept = self.path.with_name(f"{FILE_NAME}.damaged-{moment}")
        self.path.replace(kept)
        return kept


def _encode(stored: StoredTokens) -> bytes:
    tokens = [token for token in stored.tokens if token.revoked_at is None]
    revoked = [token for token in stored.tokens if token.revoked_at is not None]
    text = msgspec.json.encode(StoredTokens(tokens + revoked[-MAX_REVOKED:], stored.anchor))
    digest = hashlib.sha256(text).hexdigest()
    return msgspec.json.encode(_File(_VERSION, digest, Raw(text))) + b"\n"


def _decode(content: bytes) -> StoredTokens:
    try:
        file = msgspec.json.decode(content, type=_File)
    except _UNREADABLE:
        raise DamagedTokens("its content is damaged") from None
    if file.version != _VERSION:
        raise DamagedTokens("another version of infernet-edge wrote it")
    text = bytes(file.content)
    if hashlib.sha256(text).hexdigest() != file.sha256:
        raise DamagedTokens("its content does not match its checksum")
    try:
        return msgspec.json.decode(text, type=StoredTokens)
    except _UNREADABLE:
        raise DamagedTokens("its content is damaged") from None
