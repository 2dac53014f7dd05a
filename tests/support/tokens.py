"""The tokens of a node: without one, and made at its control socket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from infernet_edge.api.access.tokens import Tokens
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.tokens import Token
from infernet_edge.control.server import SOCKET_NAME
from infernet_edge.storage.dates import Dates
from infernet_edge.storage.token_file import TokenFile
from tests.support.running import Reply, RunningNode

NOWHERE = Path("/nonexistent")


def tokens_of(
    configured: Mapping[str, Secret | Token] | None = None, folder: Path = NOWHERE
) -> Tokens:
    """Tokens of a configuration, and of a folder once they are loaded."""
    return Tokens(configured or {}, TokenFile(folder), Dates(None))


async def operate(node: RunningNode, method: str, path: str, body: Any = None) -> Reply:
    """Send a request to the control socket of a node, where it has the rights of an operator."""
    socket = str(node.parts.config.storage_path / SOCKET_NAME)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session,
        session.request(method, f"http://node{path}", json=body) as response,
    ):
        return Reply(response.status, response.headers, await response.json())


async def make_token(node: RunningNode, name: str, scope: str, **more: Any) -> dict[str, str]:
    """Make a token; returns the header that its holder sends."""
    reply = await operate(node, "POST", "/api/tokens", {"name": name, "scope": scope, **more})
    assert reply.status == 200, reply
    return bearer(reply.body["token"])


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"authorization": f"Bearer {token}"}
