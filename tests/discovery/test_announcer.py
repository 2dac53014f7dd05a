"""A node stays announced while its networks come, change and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from infernet_edge.discovery import announcer as module
from infernet_edge.discovery import link_watch
from infernet_edge.discovery.announcer import Announcer
from infernet_edge.discovery.browser import browse
from infernet_edge.hardware.network import Link, links
from infernet_edge.tasks import cancel
from tests.support.disks import as_root
from tests.support.mdns import description
from tests.support.networks import SecondMachine, second_machine
from tests.support.process import ROOT


@contextlib.asynccontextmanager
async def working(other: SecondMachine) -> AsyncIterator[Announcer]:
    """An announcer that uses all networks of the second machine's device."""

    def find() -> list[Link]:
        return [link for link in links("0.0.0.0") if link.name == other.device]

    announcer = Announcer("pi-kitchen", description, find)
    work = asyncio.create_task(announcer.run())
    try:
        yield announcer
        assert not work.done()
    finally:
        await cancel(work)


async def until(true: Callable[[], bool], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


async def addresses(announcer: Announcer) -> set[str]:
    """Under which URLs the node finds itself."""
    found = (await browse(announcer.sockets, 1.6)).found(set())
    return {url for node in found for url in node.urls}


async def until_at(announcer: Announcer, address: str) -> None:
    """Wait until the node finds itself under this address alone."""
    async with asyncio.timeout(40):
        while await addresses(announcer) != {f"http://{address}:4000"}:
            await asyncio.sleep(0.2)


async def test_networks_that_change_are_followed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "infernet_edge")
    with second_machine() as other:
        as_root("ip", "link", "set", other.device, "down")
        async with working(other) as announcer:
            await until(lambda: bool(announcer.problem))
            assert announcer.problem == "there is no network"
            assert not announcer.responder.announced
            as_root("ip", "link", "set", other.device, "up")
            await until(lambda: announcer.responder.announced)
            await until(lambda: not announcer.problem)
            await until_at(announcer, other.here)
            # As DHCP gives another address.
            new = other.here.rpartition(".")[0] + ".65"
            as_root("ip", "address", "add", f"{new}/26", "dev", other.device)
            as_root("ip", "address", "del", f"{other.here}/30", "dev", other.device)
            await until_at(announcer, new)
            as_root("ip", "link", "set", other.device, "down")
            await until(lambda: announcer.problem == "there is no network")
    limited = [each for each in caplog.records if each.getMessage() == "discovery.limited"]
    reasons = [vars(each)["fields"]["reason"] for each in limited]
    # Once for each time without a network; while it changes, a packet may fail in another way.
    assert reasons.count("there is no network") == 2
    assert (reasons[0], reasons[-1]) == ("there is no network", "there is no network")


async def test_without_messages_of_the_kernel_it_retries(
    other: SecondMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a sandbox without AF_NETLINK, and while the port is refused."""
    monkeypatch.setattr(link_watch.LinkWatch, "open", lambda self: False)
    monkeypatch.setattr(module, "_RETRY", 0.1)
    tries = []

    def find() -> list[Link]:
        tries.append(1)
        return [] if len(tries) < 3 else links(other.here)

    announcer = Announcer("pi-kitchen", description, find)
    work = asyncio.create_task(announcer.run())
    try:
        await until(lambda: announcer.responder.announced)
    finally:
        await cancel(work)
    assert len(tries) >= 3


_IDLE = """
import asyncio, resource, sys
from infernet_edge.discovery.announcer import Announcer
from infernet_edge.hardware.network import links
from tests.support.mdns import description

async def main():
    announcer = Announcer("pi-kitchen", description, lambda: links("0.0.0.0"))
    work = asyncio.create_task(announcer.run())
    while not announcer.responder.announced:
        await asyncio.sleep(0.05)
    await asyncio.sleep(4)
    scheduled = []
    loop = asyncio.get_running_loop()
    original = loop.call_at
    loop.call_at = lambda *given, **options: scheduled.append(given) or original(*given, **options)
    await loop.run_in_executor(None, __import__("time").sleep, 3)
    print(len(scheduled))
    work.cancel()
asyncio.run(main())
"""


def test_an_idle_announcer_sets_no_timer(other: SecondMachine) -> None:
    """On a machine of its own: here other tests change networks at the same time."""
    done = other.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", _IDLE)
    assert done.stdout.strip() == "0"
