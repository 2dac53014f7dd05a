"""Check whether a path of the configuration can serve its purpose. Reads the disk, writes nothing.

An error is only what would stop every start of the node. A folder that this user may not write is
not an error, since the commands also run as other users than the node.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Server
from infernet_edge.config.texts import flaw

_MAX_NAME = 255  # bytes, NAME_MAX of Linux's file systems, pathname(7)
_MAX_PATH = 4095  # bytes, PATH_MAX without its NUL
_MAX_SOCKET = 107  # bytes of a Unix socket's address, unix(7)
_FOLDER = "is a folder"
NO_HOME = "the home folder of this user is not known: HOME is not set and it has no account"


def expanded(text: str) -> Path:
    """The path with ~ and ~user replaced. Raises ValueError when that home is not known."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0].removeprefix("~")
        raise ValueError(f"user {user} has no home folder" if user else NO_HOME) from None


def folder_flaw(text: str, max_bytes: int = _MAX_PATH) -> str:
    """Why `text` cannot be a folder that is created when it is missing; "" when it can.

    `max_bytes` is the maximum length of its absolute path.
    """
    return _flaw(text, max_bytes, 0, stat.S_ISDIR, "is not a folder")


def new_file_flaw(text: str, suffix: int) -> str:
    """Why `text` cannot be a file that is created, with its folder, when missing; "" if it can.

    `suffix` is the number of bytes that are added to its name for further files.
    """
    return _flaw(text, _MAX_PATH - suffix, suffix, lambda mode: not stat.S_ISDIR(mode), _FOLDER)


def file_flaw(text: str) -> str:
    """Why `text` cannot be a file that this user reads; "" when it can."""
    if found := _flaw(text, _MAX_PATH, 0, lambda mode: not stat.S_ISDIR(mode), _FOLDER):
        return found
    path = expanded(text)
    if not os.path.lexists(path):
        return "does not exist"
    return "" if os.access(path, os.R_OK) else "this user may not read it"


def certificate_flaw(cert: str, key: str) -> str:
    """Why two files are not a certificate and its private key; "" when they are. Blocks."""
    import ssl  # most configurations have no certificate

    try:
        # A key with a password is refused; without a function OpenSSL would ask for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, lambda: b"-")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "key is not the one of the certificate in cert"
        return "cert has no certificate in PEM, or key has no private key in PEM without a password"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def source_flaw(text: str) -> str:
    """Why `text` cannot be the source of a volume; "" when it can. It may not exist here."""
    return _flaw(text, _MAX_PATH, 0, lambda mode: True, "")


def socket_flaw(text: str) -> str:
    """Why `text` cannot be the path of a Unix socket; "" when it can."""
    if not text.startswith("/"):
        return "is not an absolute path"
    if len(os.fsencode(text)) > _MAX_SOCKET:
        return f"is longer than {_MAX_SOCKET} bytes"
    return ""


def _flaw(
    text: str, max_bytes: int, suffix: int, fits: Callable[[int], bool], otherwise: str
) -> str:
    try:
        path = expanded(text).absolute()
    except ValueError as error:
        return str(error)
    except OSError as error:  # of the current folder
        return f"the current folder cannot be found: {error.strerror}"
    if found := flaw(str(path)):  # of the home or the current folder
        return found
    if len(os.fsencode(path)) > max_bytes:
        return f"is longer than {max_bytes} bytes"
    if any(len(os.fsencode(part)) > _MAX_NAME for part in path.parts):
        return f"has a name of more than {_MAX_NAME} bytes"
    if len(os.fsencode(path.name)) + suffix > _MAX_NAME:
        return f"has a name of more than {_MAX_NAME - suffix} bytes"
    for each in (*reversed(path.parents), path):
        try:
            mode = each.stat().st_mode
        except FileNotFoundError:
            return f"{each} is a broken link" if each.is_symlink() else ""
        except PermissionError:
            return ""  # the node's user may be another one
        except OSError as error:
            return f"{each}: {error.strerror}"
        if each != path and not stat.S_ISDIR(mode):
            return f"{each} is not a folder"
        if each == path and not fits(mode):
            return otherwise
    return ""


def certificate_problem(server: Server) -> Problem | None:
    """What stops each start of the node, and is not read while it is only configured. Blocks."""
    found = certificate_flaw(server.tls.cert, server.tls.key) if server.tls is not None else ""
    return Problem("server.tls", found, "a certificate and its private key") if found else None
