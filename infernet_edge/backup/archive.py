"""The archive of a backup: a tar file that `tar` opens, with a manifest as its last members.

The form is ustar of POSIX.1-1988: blocks of 512 bytes, a header before each file, two blocks of
zeros at the end. Only regular files with the names below are written and read, no folders, links
or extended headers, so that nothing in an archive can name a place outside of it, or need more
memory than a block. `manifest.json` has the size and the SHA-256 of each file before it, and
`manifest.json.sha256` its own, in the form of `sha256sum`.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from infernet_edge.config.model import DATABASE
from infernet_edge.errors import InfernetEdgeError

FORMAT: Final = 1
"""The number of this form; a program that does not know it refuses the archive."""

PROGRAM: Final = "infernet-edge"
MANIFEST: Final = "manifest.json"
CONFIGURATIONS: Final = ("configuration.json", "configuration.toml")
STORED_FILES: Final = ("tokens.json",)
"""Files of the storage folder besides the database that a backup contains, where they exist."""

MAX_FILES: Final = 200
"""Files in an archive."""

MAX_SMALL: Final = 4 * 2**20
"""Bytes of a file that is not the database."""

_MANIFEST_SUM = f"{MANIFEST}.sha256"
_SECRET = re.compile(r"secrets/[0-9]{1,3}")
_BLOCK = tarfile.BLOCKSIZE
_AT_ONCE = 256 * 2**10  # bytes
_MAX_TRAILER = 64 * 2**10  # bytes of zeros after the end, which programs add


class UnusableArchive(InfernetEdgeError):
    """An archive that is no backup, incomplete or damaged; the text says what is wrong."""


class Tables(Struct, frozen=True):
    """The steps of one owner's tables that ran on the database, see storage/migrations.py."""

    version: int
    readable_since: int


class StoredFile(Struct, frozen=True):
    """One file of the archive: its size in bytes, its SHA-256 in hex digits."""

    name: str
    size: int
    sha256: str


class Manifest(Struct, frozen=True):
    """What an archive contains, and where it came from.

    `created` is ISO 8601, in UTC, by the machine's clock. `host` and `node` name the machine and
    its node, `storage` and `configuration` are where its files were. `secret_files` has the place
    of each file `secrets/NUMBER`; `left_out` names the settings and files that are not in it.
    """

    format: int
    program: str
    version: str
    created: str
    host: str
    node: str
    storage: str
    configuration: str | None
    with_secrets: bool
    tables: dict[str, Tables]
    files: list[StoredFile]
    secret_files: dict[str, str] = {}
    left_out: list[str] = []


class ArchiveSink(Protocol):
    """Where an archive is written."""

    def write(self, content: bytes, /) -> Any: ...


class ArchiveSource(Protocol):
    """Where an archive is read from: a file, or a pipe."""

    def read(self, size: int, /) -> bytes: ...


class Opened(NamedTuple):
    """A file in an archive that is being read; `content` has to be read to its end."""

    name: str
    size: int
    content: Iterator[bytes]


class ArchiveWriter:
    """Writes the files of an archive, one after the other."""

    def __init__(self, output: ArchiveSink) -> None:
        self._output = output
        self.files: list[StoredFile] = []

    def add(self, name: str, size: int, content: Iterable[bytes]) -> None:
        """Write a file of exactly `size` bytes; raises OSError and UnusableArchive."""
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.mtime = size, 0o600, int(time.time())
        self._output.write(header.tobuf(tarfile.GNU_FORMAT))  # base-256 sizes from 8 GiB on
        digest = hashlib.sha256()
        written = 0
        for part in content:
            digest.update(part)
            self._output.write(part)
            written += len(part)
        if written != size:
            raise UnusableArchive(f"{name} has {written} bytes instead of {size}")
        self._output.write(bytes(-size % _BLOCK))
        self.files.append(StoredFile(name, size, digest.hexdigest()))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, with the files that were added, and the end."""
        listed = msgspec.structs.replace(manifest, files=list(self.files))
        text = msgspec.json.format(msgspec.json.encode(listed), indent=2) + b"\n"
        self.add(MANIFEST, len(text), [text])
        line = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode()
        self.add(_MANIFEST_SUM, len(line), [line])
        self._output.write(bytes(2 * _BLOCK))


def read_archive(source: ArchiveSource) -> Iterator[Opened]:
    """The files of an archive in their order; the caller reads the content of each.

    What it yields is checked only when `verified` has seen all. Raises UnusableArchive, OSError.
    """
    names: set[str] = set()
    while (block := _exactly(source, _BLOCK)) != bytes(_BLOCK):
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError, ValueError) as error:
            if not names:
                raise UnusableArchive("It is no backup of infernet-edge: no tar file") from None
            raise UnusableArchive(f"The header after {sorted(names)[-1]} is damaged") from error
        name = header.name
        if header.type != tarfile.REGTYPE or not _is_ours(name) or name in names:
            raise UnusableArchive(
                f"It is no backup of infernet-edge, or was changed: it has {name[:100]!r}"
                f" (type {header.type!r}), which no backup has"
            )
        if header.tobuf(tarfile.GNU_FORMAT) != block:  # bytes that tar does not look at
            raise UnusableArchive(f"The header of {name} is damaged")
        if name != DATABASE and header.size > MAX_SMALL:
            raise UnusableArchive(f"{name} has {header.size} bytes; at most {MAX_SMALL} are read")
        names.add(name)
        if len(names) > MAX_FILES:
            raise UnusableArchive(f"It has more than {MAX_FILES} files")
        content = _content(source, name, header.size)
        yield Opened(name, header.size, content)
        if next(content, None) is not None:
            raise AssertionError(f"{name} was not read to its end")
        if any(_exactly(source, -header.size % _BLOCK)):
            raise UnusableArchive(f"The bytes after {name} are damaged")
    _check_end(source)


class Verification:
    """Collects what was read of an archive, and compares it with its manifest at the end."""

    def __init__(self) -> None:
        self._read: list[StoredFile] = []
        self._small: dict[str, bytes] = {}

    def copy(self, opened: Opened, output: ArchiveSink | None) -> None:
        """Read a file to its end, into `output`, or into memory when that is None."""
        digest = hashlib.sha256()
        parts = []
        for part in opened.content:
            digest.update(part)
            if output is None:
                parts.append(part)
            else:
                output.write(part)
        if output is None:
            self._small[opened.name] = b"".join(parts)
        self._read.append(StoredFile(opened.name, opened.size, digest.hexdigest()))

    def small(self, name: str) -> bytes | None:
        """The content of a file that was read into memory; None when the archive has none."""
        return self._small.get(name)

    def finish(self) -> Manifest:
        """The manifest of an archive that was read to its end; raises UnusableArchive."""
        text, line = self.small(MANIFEST), self.small(_MANIFEST_SUM)
        if text is None or line is None:
            raise UnusableArchive(f"It is no backup of infernet-edge: it has no {MANIFEST}")
        if line != f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode():
            raise UnusableArchive(f"{MANIFEST} is damaged")
        try:
            known = msgspec.json.decode(text, type=_Kind)
            if known.program != PROGRAM or known.format != FORMAT:
                raise UnusableArchive(
                    f"It was made by {known.program} {known.version}, in a form that this version"
                    f" does not know ({known.format}): use that version or a later one"
                )
            manifest = msgspec.json.decode(text, type=Manifest)
        except msgspec.DecodeError as error:
            raise UnusableArchive(f"{MANIFEST} cannot be read: {error}") from error
        read = [file for file in self._read if file.name not in (MANIFEST, _MANIFEST_SUM)]
        for listed, found in zip(manifest.files, read, strict=False):
            if listed != found:
                raise UnusableArchive(f"{found.name} is damaged: it is not what was written")
        if len(manifest.files) != len(read) or DATABASE not in {file.name for file in read}:
            raise UnusableArchive(f"It does not have the files that {MANIFEST} lists")
        return manifest


class _Kind(Struct, frozen=True):
    """What every form of a manifest has."""

    format: int
    program: str
    version: str


def _is_ours(name: str) -> bool:
    known = (DATABASE, MANIFEST, _MANIFEST_SUM, *CONFIGURATIONS, *STORED_FILES)
    return name in known or _SECRET.fullmatch(name) is not None


def _content(source: ArchiveSource, name: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        part = source.read(min(left, _AT_ONCE))
        if not part:
            raise UnusableArchive(f"It is incomplete: it ends in the middle of {name}")
        left -= len(part)
        yield part


def _exactly(source: ArchiveSource, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = source.read(size)
        if not part:
            raise UnusableArchive("It is incomplete: it ends too early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _check_end(source: ArchiveSource) -> None:
    """Only zeros may follow the first block of zeros, at least a block of them."""
    if any(_exactly(source, _BLOCK)):
        raise UnusableArchive("Its end is damaged")
    left = _MAX_TRAILER
    while part := source.read(_BLOCK):
        left -= len(part)
        if any(part) or left < 0:
            raise UnusableArchive("Something follows its end")
