"""The files of the dashboard, as they are in the package, and compressed: 160 kB in all."""

from __future__ import annotations

import hashlib
import zlib
from importlib.resources import files
from typing import Final, NamedTuple

from infernet_edge import __version__

_INDEX: Final = "index.html"
_PLACEHOLDER: Final = b"ui/VERSION/"  # in index.html, which is the only file that changes
_FOLDERS: Final = ("", "pages", "parts")
# The form of RFC 1952; the module gzip imports what the executable does not have.
_GZIP: Final = 16 + zlib.MAX_WBITS
_TYPES: Final = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
}


class File(NamedTuple):
    """A file as it is sent; `compressed` by gzip."""

    text: bytes
    compressed: bytes
    etag: bytes
    kind: bytes


class Package:
    """The page `index`, and the `files` that it loads, by their names.

    `version` is a part of the paths of the files: the node's, and a checksum of all files, so that
    a browser may keep them.
    """

    def __init__(self) -> None:
        texts = _read()
        index = texts.pop(_INDEX)
        self.files = {name: _file(name, text) for name, text in texts.items()}
        names = b"".join(name.encode() + self.files[name].etag for name in sorted(self.files))
        self.version = f"{__version__}-{hashlib.sha256(names).hexdigest()[:8]}"
        index = index.replace(_PLACEHOLDER, f"ui/{self.version}/".encode())
        self.index = _file(_INDEX, index)


def _read() -> dict[str, bytes]:
    """The files, by their names such as "pages/jobs.js"."""
    root = files("infernet_edge.dashboard").joinpath("ui")
    return {
        f"{folder}/{entry.name}".lstrip("/"): entry.read_bytes()
        for folder in _FOLDERS
        for entry in root.joinpath(folder).iterdir()
        if entry.is_file()
    }


def _file(name: str, text: bytes) -> File:
    etag = b'"%b"' % hashlib.sha256(text).hexdigest()[:16].encode()
    kind = name.rpartition(".")[2]
    return File(text, zlib.compress(text, 9, _GZIP), etag, _TYPES[kind])
