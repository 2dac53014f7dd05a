"""The list of other nodes: what is in it, and how long it is used."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.discovery import nodes
from infernet_edge.discovery.nodes import NodeDirectory
from tests.discovery.conftest import Announced
from tests.discovery.test_fetching import HEALTHY, INFO, node
from tests.support.mdns import description
from tests.support.ports import free_port


async def test_listed_nodes_are_asked_at_most_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with node(HEALTHY, INFO) as (url, asked):
        directory = NodeDirectory(None, [url, gone], "off for a test")
        first, second = await asyncio.gather(directory.read(), directory.read())
        assert first is second
        assert first.problem == "off for a test"
        by_url = {item.url: item for item in first.items}
        assert by_url[url].health == "healthy"
        assert by_url[url].listed
        assert by_url[url].seen_at
        assert by_url[url].containers == ["a", "b"]
        assert by_url[gone].health == "unreachable"
        assert by_url[gone].reason == "Connection refused"
        assert by_url[gone].seen_at is None
        assert len(asked) == 2
        assert await directory.read() is first
        assert len(asked) == 2
        monkeypatch.setattr(nodes, "_KEEP_SECONDS", 0.0)
        assert await directory.read() is not first
        assert len(asked) == 4
        await directory.close()


async def test_a_node_that_stops_answering_stays_listed_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "_KEEP_SECONDS", 0.0)
    async with node(HEALTHY, INFO) as (url, _):
        directory = NodeDirectory(None, [url], "")
        [before] = (await directory.read()).items
    [after] = (await directory.read()).items
    await directory.close()
    assert after.health == "unreachable"
    assert after.seen_at == before.seen_at


async def test_this_node_is_left_out_and_others_of_this_machine_are_not_called(
    announced: Announced,
) -> None:
    """The announcement of another one names a port of this machine: here it is a real server's."""
    async with (
        node(HEALTHY, INFO) as (url, asked),
        announced("own") as own,
        announced("second", lambda: description(port=int(url.rpartition(":")[2]))),
    ):
        directory = NodeDirectory(own, [], "")
        found = await directory.read()
        assert [item.name for item in found.items] == ["second"]
        assert found.items[0].health == "unknown"
        assert "this machine" in found.items[0].reason
        assert asked == []
        await directory.close()


async def test_a_request_that_is_given_up_does_not_stop_the_others() -> None:
    async with node(HEALTHY, INFO) as (url, _):
        directory = NodeDirectory(None, [url], "")
        first = asyncio.create_task(directory.read())
        second = asyncio.create_task(directory.read())
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).items[0].health == "healthy"
        assert first.cancelled()
        await directory.close()
