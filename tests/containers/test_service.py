"""The state of a container: what jobs wait for."""

from __future__ import annotations

import asyncio

import pytest

from infernet_edge.config.model import Container
from infernet_edge.containers.service import Service, ServiceUnavailable


def service(*, managed: bool = True) -> Service:
    return Service(Container(id="a", image="b", url="" if managed else "http://c"), managed=managed)


@pytest.mark.parametrize("state", ["starting", "ready", "unmanaged"])
async def test_a_closed_one_takes_no_call(state: str) -> None:
    closed = service(managed=state != "unmanaged")
    if state == "ready":
        closed.set_ready()
    waiting = asyncio.create_task(closed.wait_ready(10))
    await asyncio.sleep(0)
    with closed.calling():
        closed.close("it is gone")
    if state == "starting":
        with pytest.raises(ServiceUnavailable, match=r"^it is gone$"):
            await waiting
    else:
        await waiting
    with pytest.raises(ServiceUnavailable, match=r"^it is gone$"):
        await closed.wait_ready(10)


async def test_it_is_quiet_when_the_last_call_has_ended() -> None:
    called = service()
    await called.wait_quiet(10)
    first, second = called.calling(), called.calling()
    first.__enter__()
    second.__enter__()
    waiting = asyncio.create_task(called.wait_quiet(10))
    await asyncio.sleep(0)
    first.__exit__(None, None, None)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    second.__exit__(None, None, None)
    async with asyncio.timeout(10):
        await waiting
    with called.calling():
        await called.wait_quiet(0.01)
        assert called.in_call == 1


def test_another_configuration_keeps_the_port_of_a_container_that_runs() -> None:
    running = service()
    running.set_port(3999)
    running.apply(Container(id="a", image="c", port=3001), managed=True)
    assert (running.port, running.base_url) == (3999, "http://127.0.0.1:3999")
    assert running.info.image == "c"
    running.apply(Container(id="a", url="http://host/"), managed=False)
    assert running.base_url == "http://host"
    running.apply(Container(id="a", image="c", port=3001), managed=True)
    assert running.base_url == "http://127.0.0.1:3001"
