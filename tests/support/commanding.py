"""Commands against a running node, by its control socket or by its URL.

async with commanding(tmp_path, "url", {"containers": [...]}) as command:
    assert await command("submit", "echo") == 0
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from infernet_edge.cli.main import main
from tests.support.certificates import make_certificate
from tests.support.running import RunningNode, running

WAYS = ("control", "url", "tls")
"""The control socket; plain HTTP; HTTPS with a certificate of its own and a token."""

TOKEN = "a-token-of-anna-0123456789"


class Commands:
    """Runs commands against one node."""

    def __init__(self, node: RunningNode, arguments: list[str]) -> None:
        self.node = node
        self.arguments = arguments
        """What names the node."""

    async def __call__(self, *arguments: str) -> int:
        """Run a command; returns its exit code."""
        return await asyncio.to_thread(run_command, *arguments, *self.arguments)


def run_command(*arguments: str) -> int:
    """Run a command; returns its exit code, also where argparse exits."""
    try:
        return main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)


def config_file(folder: Path, storage: Path) -> Path:
    """A configuration that names the storage of a node."""
    path = folder / "command.json"
    path.write_text(json.dumps({"storage": {"path": str(storage)}}))
    return path


@asynccontextmanager
async def commanding(
    folder: Path, way: str, document: Mapping[str, Any] | None = None
) -> AsyncIterator[Commands]:
    """Run a node, and commands against it in one of `WAYS`."""
    laid = dict(document or {})
    environment = {}
    if way == "tls":
        certificate = make_certificate(folder / "tls")
        server = {"tls": certificate.settings, "tokens": {"anna": TOKEN}}
        laid["server"] = {**laid.get("server", {}), **server}
        environment["INFERNET_EDGE_TOKEN"] = TOKEN
    async with running(folder, laid) as node:
        if way == "control":
            storage = node.node.config.storage_path
            named = ["--config", str(config_file(folder, storage))]
        else:
            named = ["--url", node.url]
            if way == "tls":
                named += ["--cacert", str(certificate.cert)]
        with mock.patch.dict(os.environ, environment):
            yield Commands(node, named)
