"""Names by which containers address their machine, in real requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config import host_names
from infernet_edge.http_client import resolver
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectFailed
from infernet_edge.http_client.urls import parse_url
from tests.support.echo import EchoService
from tests.support.events import Events, listen


@pytest.fixture
def events() -> Iterator[Events]:
    with listen(resolver.__name__) as seen:
        yield seen


@pytest.mark.parametrize("host", host_names.OF_THIS_MACHINE)
async def test_a_service_on_this_machine(host: str, events: Events, tmp_path: Path) -> None:
    if host_names.resolves(host):
        pytest.skip(f"{host} is a name of this network")
    with EchoService(tmp_path) as service:
        async with HttpClient() as http:
            for _ in range(2):
                url = service.url.replace("127.0.0.1", host.upper())
                async with await http.request("GET", parse_url(f"{url}/")) as response:
                    assert response.status < 500
    [logged] = events.of("container.host_replaced")
    assert logged["host"] == host
    assert logged["used"] == "127.0.0.1"


async def test_a_name_that_is_known_is_not_replaced(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def known(host: str, port: Any, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", known, raising=False)
    [found] = await resolver.Resolver().resolve("host.docker.internal", 80)
    assert found[4] == ("127.0.0.9", 80)
    assert not events.of("container.host_replaced")


async def test_other_names_have_to_be_known() -> None:
    async with HttpClient() as http:
        with pytest.raises(ConnectFailed):
            await http.request("GET", parse_url("http://host.docker.invalid:9/"))


async def test_a_name_service_that_does_not_answer(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any, **__: Any) -> list[Any]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(resolver, "RESOLVING_TIME", 0.05)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent, raising=False)
    [found] = await resolver.Resolver().resolve("host.docker.internal.", 80)
    assert found[4] == ("127.0.0.1", 80)
    assert len(events.of("container.host_replaced")) == 1
