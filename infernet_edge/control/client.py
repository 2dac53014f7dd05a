"""Requests reports from a running node, through the control socket in its storage folder.

For commands, which must not open the database that the node writes. Blocks.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from infernet_edge.config.model import Config
from infernet_edge.errors import InfernetEdgeError

_TIMEOUT = 10.0  # seconds


class NotRunning(InfernetEdgeError):
    """No report is available; the text says why and what to do."""


class NotAllowed(NotRunning):
    """A node may run, but this user has no permission to use its socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("node", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))


def fetch(config: Config, report: str, **parameters: str) -> Any:
    """A report of the node that runs with this storage, decoded. Raises NotRunning."""
    path = config.storage_path / "control.sock"
    connection = _UnixConnection(path)
    try:
        connection.request("GET", f"/{report}?{urlencode(parameters)}")
        response = connection.getresponse()
        answer = msgspec.json.decode(response.read())
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"No node runs with the storage {config.storage_path}."
            " Start one with: infernet-edge run (or name its configuration with --config)"
        ) from None
    except PermissionError:
        raise NotAllowed(
            f"{path} belongs to another user: run this command as the user of the node."
        ) from None
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise NotRunning(f"The node does not answer on {path}: {error}") from None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise NotRunning(f"The node reports an error: {answer.get('error')}")
    return answer
