"""A network of this machine and a second one; and an announcer in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from infernet_edge.discovery.announcer import Announcer
from infernet_edge.discovery.service import Description
from infernet_edge.hardware.network import links
from infernet_edge.tasks import cancel
from tests.support.mdns import description
from tests.support.networks import SecondMachine, second_machine

Announced = Callable[..., AbstractAsyncContextManager[Announcer]]


@pytest.fixture(scope="module")
def other() -> Iterator[SecondMachine]:
    with second_machine() as machine:
        yield machine


@pytest.fixture
def announced(other: SecondMachine) -> Announced:
    """A node's announcer in that network: `announced(name, describe)`, once it is done."""

    @asynccontextmanager
    async def start(
        name: str = "pi-kitchen",
        describe: Callable[[], Description] = description,
        *,
        wait: bool = True,
    ) -> AsyncIterator[Announcer]:
        announcer = Announcer(name, describe, lambda: links(other.here))
        work = asyncio.create_task(announcer.run())
        try:
            async with asyncio.timeout(60):
                while wait and not announcer.responder.announced:
                    assert not work.done(), work.exception()
                    await asyncio.sleep(0.02)
            yield announcer
        finally:
            await cancel(work)

    return start
