"""The demo's steps against nodes on which they fail; test_demo.py tests the success."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infernet_edge.demo.client import DemoFailed
from infernet_edge.demo.walkthrough import Walkthrough, examples
from infernet_edge.http_client.client import HttpClient
from tests.support.node import NodeProcess
from tests.support.ports import free_port


async def failure(url: str) -> str:
    async with HttpClient() as http:
        with pytest.raises(DemoFailed) as caught:
            await Walkthrough(http, url).run()
    return str(caught.value)


async def test_a_refusal_is_reported(tmp_path: Path) -> None:
    node = NodeProcess({}, tmp_path)
    await asyncio.to_thread(node.start)
    try:
        reason = await failure(node.url)
    finally:
        await asyncio.to_thread(node.stop)
    assert "POST /api/jobs was answered with 405" in reason
    assert "Container not supported" in reason


async def test_a_container_that_fails_is_reported(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    node = NodeProcess({"containers": [{"id": "writer", "url": dead}]}, tmp_path)
    await asyncio.to_thread(node.start)
    try:
        assert "The job failed in writer: " in await failure(node.url)
    finally:
        await asyncio.to_thread(node.stop)


async def test_a_missing_node_is_reported() -> None:
    assert "did not answer" in await failure(f"http://127.0.0.1:{free_port()}")


def test_examples_fit_on_a_terminal() -> None:
    for example in examples("http://127.0.0.1:4000", "1548865f-e806-41df-a756-f427c1d2e395"):
        assert all(len(line) <= 78 for line in example.command.splitlines())
