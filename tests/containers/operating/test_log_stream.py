"""Why there is no log, in plain words."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.operating.log_stream import frames_of
from tests.support.ports import free_port
from tests.support.serving import talking


def connection(url: str) -> Any:
    """A connection to Podman at a URL."""
    engine = SimpleNamespace(url=url)
    return SimpleNamespace(engine=engine, problem="", in_use=contextlib.nullcontext)


async def reason(url: str) -> str:
    with pytest.raises(EngineUnreachable) as failed:
        async for _ in frames_of(connection(url), "x", tail=None, since="", follow=True):
            pass
    return str(failed.value)


async def test_podman_that_is_not_reached(tmp_path: Path) -> None:
    for url, expected in (
        (f"unix://{tmp_path}/none", "No such file or directory"),
        (f"tcp://127.0.0.1:{free_port()}", "Connection refused"),
    ):
        assert await reason(url) == f"Podman does not send the log: {expected}"


async def test_podman_that_closes_the_connection(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    path = tmp_path / "socket"
    async with talking(talk, socket_path=path):
        assert await reason(f"unix://{path}") == (
            "Podman does not send the log: it closed the connection"
        )
