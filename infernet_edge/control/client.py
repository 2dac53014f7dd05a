"""Requests reports from a running node, and calls its API, through its control socket.

For commands, which must not open the database that the node writes. Blocks.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from infernet_edge.config.model import Config
from infernet_edge.errors import ApiError, InfernetEdgeError

_TIMEOUT = 10.0  # seconds
_ACTION_TIMEOUT = 60.0  # seconds for what changes something
_SOCKET = "control.sock"


class NotRunning(InfernetEdgeError):
    """No report is available; the text says why and what to do."""


class NoNode(NotRunning):
    """No node runs with this storage."""


class NotAllowed(NotRunning):
    """A node may run, but this user has no permission to use its socket."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("node", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def fetch(config: Config, report: str, **parameters: str) -> Any:
    """A report of the node that runs with this storage, decoded. Raises NotRunning."""
    status, answer = _exchange(config, "GET", f"{report}?{urlencode(parameters)}")
    if status != http.client.OK:
        raise NotRunning(f"The node reports an error: {answer.get('error')}")
    return answer


def call(config: Config, method: str, path: str, body: Any = None) -> Any:
    """The answer of the API of the node that runs with this storage, decoded.

    The caller has the permissions of an operator. Raises NotRunning, and ApiError, with the text
    and the parameters of the answer, when the node refuses.
    """
    status, answer = _exchange(config, method, path.removeprefix("/"), body)
    if status != http.client.OK:
        raise ApiError(str(answer.get("error")), answer.get("params"))
    return answer


@contextlib.contextmanager
def opened(
    config: Config,
    target: str,
    timeout: float = _TIMEOUT,
    *,
    method: str = "GET",
    body: Any = None,
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request for /`target`, which is read within the block; raises NotRunning.

    Each wait for bytes takes at most `timeout` seconds.
    """
    connection = _UnixConnection(config.storage_path / _SOCKET, timeout)
    content = None if body is None else msgspec.json.encode(body)
    headers = {} if body is None else {"content-type": "application/json"}
    try:
        with explained(config):
            connection.request(method, f"/{target}", content, headers)
            response = connection.getresponse()
        yield response
    finally:
        connection.close()


@contextlib.contextmanager
def explained(config: Config) -> Iterator[None]:
    """Raise NotRunning for the errors of a connection within the block."""
    path = config.storage_path / _SOCKET
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoNode(
            f"No node runs with the storage {config.storage_path}."
            " Start one with: infernet-edge run (or name its configuration with --config)"
        ) from None
    except PermissionError:
        raise NotAllowed(
            f"{path} belongs to another user: run this command as the user of the node."
        ) from None
    except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
        raise NotRunning(f"The node does not answer on {path}: {error}") from None


def _exchange(config: Config, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    """The status of an answer, and its decoded JSON."""
    timeout = _TIMEOUT if method == "GET" else _ACTION_TIMEOUT
    with (
        opened(config, target, timeout, method=method, body=body) as response,
        explained(config),
    ):
        return response.status, msgspec.json.decode(response.read())
