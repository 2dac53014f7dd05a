"""Places of connections: whose they are, and who has to go."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from infernet_edge.api import connections as connections_module
from infernet_edge.api.connections import Connections, Place
from infernet_edge.api.protocol import LanProtocol


class Connected:
    """A protocol whose client owes something since a time, or None: it waits for the answer."""

    is_stuck = True

    def __init__(
        self, owed_since: float | None, *, idle: bool = False, blocked_since: float | None = None
    ) -> None:
        self.owed_since = owed_since
        self.blocked_since = blocked_since
        self.is_idle = idle
        self.transport = self
        self.aborted = False

    def look(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture(autouse=True)
async def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    loop_time = asyncio.get_running_loop().time
    monkeypatch.setattr(connections_module, "_GRACE", 0.0)
    assert loop_time() > 0


def connected(places: Connections, address: str, owed: float | None, **more: Any) -> Place:
    place = places.admit(address)
    assert place is not None
    place.protocol = cast("LanProtocol", Connected(owed, **more))
    return place


def aborted(place: Place) -> bool:
    return cast("Connected", place.protocol).aborted


async def test_places_are_counted_from_the_accept_on() -> None:
    places = Connections(10, 10, [])
    place = places.admit("192.168.1.7")
    assert place is not None
    assert places.count == 1
    places.release(place)
    places.release(place)
    assert places.count == 0


async def test_the_one_that_owes_longest_has_to_go() -> None:
    places = Connections(3, 10, [])
    owes_long = connected(places, "10.0.0.1", 1.0)
    waits = connected(places, "10.0.0.2", None)
    owes = connected(places, "10.0.0.3", 2.0)
    connected(places, "10.0.0.4", 3.0)
    assert [aborted(each) for each in (owes_long, waits, owes)] == [True, False, False]
    assert places.count == 3
    connected(places, "10.0.0.5", None)
    assert [aborted(each) for each in (waits, owes)] == [False, True]


async def test_none_goes_that_waits_for_an_answer() -> None:
    places = Connections(2, 10, [])
    waiting = [connected(places, f"10.0.0.{number}", None) for number in range(2)]
    assert not places.may_come()
    assert places.admit("10.0.0.9") is None
    assert not any(aborted(each) for each in waiting)
    places.release(waiting[0])
    assert places.may_come()


async def test_one_that_has_just_come_may_begin_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "_GRACE", 60.0)
    now = asyncio.get_running_loop().time()
    places = Connections(2, 10, [])
    connected(places, "10.0.0.1", now)
    connected(places, "10.0.0.2", now)
    assert places.admit("10.0.0.3") is None
    idle = Connections(1, 10, [])
    place = connected(idle, "10.0.0.1", now, idle=True)
    assert idle.admit("10.0.0.2") is not None
    assert aborted(place), "one between two requests may go at any time"


async def test_a_client_has_so_many_and_no_more() -> None:
    places = Connections(100, 3, [])
    mine = [connected(places, "10.0.0.1", float(number)) for number in (3, 1, 2)]
    connected(places, "10.0.0.1", 4.0)
    assert [aborted(each) for each in mine] == [False, True, False]
    for place in mine:
        cast("Connected", place.protocol).owed_since = None
    connected(places, "10.0.0.1", None)
    assert places.admit("10.0.0.1") is None
    assert places.admit("10.0.0.2") is not None, "others come in all the same"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.9", "::1", "10.1.2.3", "::ffff:10.1.2.3"]
)
async def test_this_machine_and_proxies_have_no_limit(address: str) -> None:
    places = Connections(100, 2, ["10.1.0.0/16"])
    for _ in range(10):
        connected(places, address, None)
    assert places.count == 10


async def test_each_address_of_ipv6_counts_by_itself() -> None:
    """All machines of a home network share the first 64 bits."""
    places = Connections(100, 1, [])
    connected(places, "2001:db8::1", None)
    connected(places, "2001:db8::2", None)
    assert places.admit("2001:db8::1") is None
    connected(places, "fe80::1%eth0", None)
    assert places.admit("fe80::1%eth0") is None


async def test_the_one_that_takes_nothing_of_its_answer_is_closed_for_others() -> None:
    places = Connections(10, 10, [])
    blocked = [connected(places, "10.0.0.1", 5.0, blocked_since=since) for since in (2.0, 1.0)]
    connected(places, "10.0.0.2", 0.5)
    now = asyncio.get_running_loop().time()
    fresh = connected(places, "10.0.0.3", now, blocked_since=now)
    assert places.close_blocked()
    assert [aborted(each) for each in blocked] == [False, True]
    places.release(blocked[1])
    assert places.close_blocked()
    places.release(blocked[0])
    assert not places.close_blocked()
    assert not aborted(fresh)


async def test_one_client_never_takes_all_places() -> None:
    places = Connections(10, 256, [])
    for _ in range(5):
        connected(places, "10.0.0.1", None)
    assert places.admit("10.0.0.1") is None


async def test_stuck_connections_are_closed() -> None:
    places = Connections(10, 10, [])
    old, new = connected(places, "10.0.0.1", 1.0), connected(places, "10.0.0.2", 9.0)
    waits, looked_after = connected(places, "10.0.0.3", None), connected(places, "10.0.0.4", 1.0)
    cast("Connected", looked_after.protocol).is_stuck = False
    making = places.admit("10.0.0.5")
    places.close_stuck(5.0)
    assert [aborted(each) for each in (old, new, waits, looked_after)] == [
        True,
        False,
        False,
        False,
    ]
    assert making is not None
