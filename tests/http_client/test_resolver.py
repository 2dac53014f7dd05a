"""Names by which containers address their machine, in real requests."""

from __future__ import annotations

import asyncio
import contextlib
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


async def test_requests_at_once_wait_for_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that hangs occupies a thread of the system, of which there are few."""
    calls, answered = 0, asyncio.Event()

    async def slow(host: str, port: int, **_: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        await answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow, raising=False)
    resolving = resolver.Resolver()
    for _ in range(3):  # one that is cancelled does not end the call, which could not be ended
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await resolving.resolve("a.example", 80)
    waiting = [asyncio.create_task(resolving.resolve("a.example", 80)) for _ in range(5)]
    await asyncio.sleep(0)
    answered.set()
    assert {found[0][4] for found in await asyncio.gather(*waiting)} == {("127.0.0.1", 80)}
    assert calls == 1
    await resolving.close()


async def test_a_call_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def failing(*_: Any, **__: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", failing, raising=False)
    resolving = resolver.Resolver()
    for expected in (1, 2):
        found = [asyncio.create_task(resolving.resolve("a.example", 80)) for _ in range(3)]
        errors = await asyncio.gather(*found, return_exceptions=True)
        assert all(isinstance(error, socket.gaierror) for error in errors)
        assert calls == expected


async def test_closing_ends_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any, **__: Any) -> list[Any]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent, raising=False)
    before = asyncio.all_tasks()
    async with HttpClient(connect_timeout=0.05) as http:
        with pytest.raises(ConnectFailed):
            await http.request("GET", parse_url("http://a.example:9/"))
    assert asyncio.all_tasks() == before


async def test_an_address_that_does_not_answer_in_time_is_resolved_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host may have another one by now."""
    calls = 0

    async def found(host: str, port: int) -> list[Any]:
        nonlocal calls
        calls += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())]

    monkeypatch.setattr(resolver, "_by_system", found)
    with socket.socket() as listener, contextlib.ExitStack() as full:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        async with HttpClient(connect_timeout=0.2) as http:
            for expected in (1, 2):
                with pytest.raises(ConnectFailed):
                    await http.request("GET", parse_url("http://a.example:9/"))
                assert calls == expected
