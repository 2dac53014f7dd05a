from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.events import Events
from tests.support.evm import NODE, Anvil
from tests.support.sending import Proxy, Sending


@pytest.fixture
def events() -> Iterator[Events]:
    logger = logging.getLogger("infernet_edge.chain")
    handler, level = Events(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def nothing_logs_the_key(events: Events, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    assert NODE.key.hex() not in f"{events.seen} {caplog.text}".lower()


@pytest.fixture
async def sending(tmp_path: Path, anvil: Anvil) -> AsyncIterator[Sending]:
    async with Sending(tmp_path, anvil) as sending:
        yield sending


@pytest.fixture
async def proxy(anvil: Anvil) -> AsyncIterator[Proxy]:
    async with Proxy(anvil) as proxy:
        yield proxy


@pytest.fixture
async def proxied(tmp_path: Path, anvil: Anvil, proxy: Proxy) -> AsyncIterator[Sending]:
    async with Sending(tmp_path, anvil, url=proxy.url) as sending:
        yield sending
