"""The slots of connections: their clients, and which are closed for others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from infernet_edge.api import connections as connections_module
from infernet_edge.api.connections import Connections, Slot
from infernet_edge.api.protocol import LanProtocol


class Connected:
    """A protocol that waits for its client since a time; None: the client waits for an answer."""

    is_stuck = True

    def __init__(
        self, waiting_since: float | None, *, idle: bool = False, blocked_since: float | None = None
    ) -> None:
        self.waiting_since = waiting_since
        self.blocked_since = blocked_since
        self.is_idle = idle
        self.transport = self
        self.aborted = False

    def check_progress(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture(autouse=True)
async def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    loop_time = asyncio.get_running_loop().time
    monkeypatch.setattr(connections_module, "_GRACE", 0.0)
    assert loop_time() > 0


def connected(slots: Connections, address: str, waiting_since: float | None, **more: Any) -> Slot:
    slot = slots.admit(address)
    assert slot is not None
    slot.protocol = cast("LanProtocol", Connected(waiting_since, **more))
    return slot


def aborted(slot: Slot) -> bool:
    return cast("Connected", slot.protocol).aborted


async def test_slots_are_counted_from_the_accept_on() -> None:
    slots = Connections(10, 10, [])
    slot = slots.admit("192.168.1.7")
    assert slot is not None
    assert slots.count == 1
    slots.release(slot)
    slots.release(slot)
    assert slots.count == 0


async def test_the_one_that_kept_the_node_waiting_longest_is_closed() -> None:
    slots = Connections(3, 10, [])
    longest = connected(slots, "10.0.0.1", 1.0)
    served = connected(slots, "10.0.0.2", None)
    shorter = connected(slots, "10.0.0.3", 2.0)
    connected(slots, "10.0.0.4", 3.0)
    assert [aborted(each) for each in (longest, served, shorter)] == [True, False, False]
    assert slots.count == 3
    connected(slots, "10.0.0.5", None)
    assert [aborted(each) for each in (served, shorter)] == [False, True]


async def test_none_is_closed_that_waits_for_an_answer() -> None:
    slots = Connections(2, 10, [])
    waiting = [connected(slots, f"10.0.0.{number}", None) for number in range(2)]
    assert not slots.can_admit()
    assert slots.admit("10.0.0.9") is None
    assert not any(aborted(each) for each in waiting)
    slots.release(waiting[0])
    assert slots.can_admit()


async def test_a_new_one_may_start_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "_GRACE", 60.0)
    now = asyncio.get_running_loop().time()
    slots = Connections(2, 10, [])
    connected(slots, "10.0.0.1", now)
    connected(slots, "10.0.0.2", now)
    assert slots.admit("10.0.0.3") is None
    idle = Connections(1, 10, [])
    slot = connected(idle, "10.0.0.1", now, idle=True)
    assert idle.admit("10.0.0.2") is not None
    assert aborted(slot), "one between two requests may be closed at any time"


async def test_a_client_has_a_limit() -> None:
    slots = Connections(100, 3, [])
    own = [connected(slots, "10.0.0.1", float(number)) for number in (3, 1, 2)]
    connected(slots, "10.0.0.1", 4.0)
    assert [aborted(each) for each in own] == [False, True, False]
    for slot in own:
        cast("Connected", slot.protocol).waiting_since = None
    connected(slots, "10.0.0.1", None)
    assert slots.admit("10.0.0.1") is None
    assert slots.admit("10.0.0.2") is not None, "others are still admitted"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.9", "::1", "10.1.2.3", "::ffff:10.1.2.3"]
)
async def test_this_machine_and_proxies_have_no_limit(address: str) -> None:
    slots = Connections(100, 2, ["10.1.0.0/16"])
    for _ in range(10):
        connected(slots, address, None)
    assert slots.count == 10


async def test_each_address_of_ipv6_counts_by_itself() -> None:
    """All machines of a home network share the first 64 bits."""
    slots = Connections(100, 1, [])
    connected(slots, "2001:db8::1", None)
    connected(slots, "2001:db8::2", None)
    assert slots.admit("2001:db8::1") is None
    connected(slots, "fe80::1%eth0", None)
    assert slots.admit("fe80::1%eth0") is None


async def test_the_one_that_does_not_read_its_answer_is_closed_for_others() -> None:
    slots = Connections(10, 10, [])
    blocked = [connected(slots, "10.0.0.1", 5.0, blocked_since=since) for since in (2.0, 1.0)]
    connected(slots, "10.0.0.2", 0.5)
    now = asyncio.get_running_loop().time()
    fresh = connected(slots, "10.0.0.3", now, blocked_since=now)
    assert slots.close_blocked()
    assert [aborted(each) for each in blocked] == [False, True]
    slots.release(blocked[1])
    assert slots.close_blocked()
    slots.release(blocked[0])
    assert not slots.close_blocked()
    assert not aborted(fresh)


async def test_one_client_never_takes_all_slots() -> None:
    slots = Connections(10, 256, [])
    for _ in range(5):
        connected(slots, "10.0.0.1", None)
    assert slots.admit("10.0.0.1") is None


async def test_stuck_connections_are_closed() -> None:
    slots = Connections(10, 10, [])
    old, new = connected(slots, "10.0.0.1", 1.0), connected(slots, "10.0.0.2", 9.0)
    served, handled = connected(slots, "10.0.0.3", None), connected(slots, "10.0.0.4", 1.0)
    cast("Connected", handled.protocol).is_stuck = False
    making = slots.admit("10.0.0.5")
    slots.close_stuck(5.0)
    assert [aborted(each) for each in (old, new, served, handled)] == [
        True,
        False,
        False,
        False,
    ]
    assert making is not None


async def test_other_settings_are_for_new_connections() -> None:
    connections = Connections(10, 5, [])
    slots = [connections.admit("192.0.2.1") for _ in range(3)]
    assert None not in slots
    for slot in slots:
        assert slot is not None
        slot.protocol = cast(Any, Connected(None))
    connections.apply(3, [])
    assert connections.admit("192.0.2.1") is None
    connections.apply(3, ["192.0.2.0/24"])
    assert connections.admit("192.0.2.1") is not None
    assert connections.count == 4
