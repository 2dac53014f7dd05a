"""Asks the running node, through the socket in its storage folder."""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from infernet_edge.config import Config

_TIMEOUT = 10.0  # seconds


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))


def ask(config: Config, report: str, **parameters: str) -> Any | None:
    """The node's report as decoded JSON; prints why and returns None when it cannot be had."""
    import msgspec

    path = config.storage_path / "control.sock"
    connection = _UnixConnection(path)
    try:
        connection.request("GET", f"/{report}?{urlencode(parameters)}")
        response = connection.getresponse()
        body = response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        print(
            f"No node runs with the storage {config.storage_path}."
            " Start one with: infernet-edge run (or name its configuration with --config)",
            file=sys.stderr,
        )
        return None
    except PermissionError:
        print(
            f"{path} belongs to another user: run this command as the user of the node.",
            file=sys.stderr,
        )
        return None
    except OSError as error:
        print(f"The node does not answer on {path}: {error}", file=sys.stderr)
        return None
    finally:
        connection.close()
    answer = msgspec.json.decode(body)
    if response.status != http.client.OK:
        print(f"The node says: {answer.get('error')}", file=sys.stderr)
        return None
    return answer
