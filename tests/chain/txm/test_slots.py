"""Whose turn it is to send a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import pytest

from infernet_edge.chain.txm import slots as module
from infernet_edge.chain.txm.in_flight import InFlightSet, InFlightState
from infernet_edge.chain.txm.slots import NoSlot, TransactionSlots
from infernet_edge.chain.txm.store import Signed, Transaction


class Account:
    """Transactions in flight, and their slots; the clock stands still."""

    def __init__(self, maximum: int, *, proven: bool = True) -> None:
        self.time = 0.0
        self.in_flight = InFlightSet()
        self.slots = TransactionSlots(self.in_flight, maximum, lambda: self.time)
        self.began: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        if proven:
            self.add("a")
            self.slots.note_taken("b")
            self.finish("a")

    def add(self, key: str, state: InFlightState = InFlightState.PENDING) -> None:
        signed = [Signed("0x11", b"raw", 5, None)]
        transaction = Transaction(1, key, 1, "0xsender", 7, "0xto", b"", 100, None, signed)
        self.in_flight.by_key[key] = self.in_flight.new(transaction, state)

    def include(self, key: str) -> None:
        self.in_flight.by_key[key].state = InFlightState.INCLUDED
        self.slots.grant()

    def finish(self, key: str) -> None:
        del self.in_flight.by_key[key]
        self.slots.release(key)

    async def send(self, *keys: str, group: Hashable | None = None, first: bool = False) -> None:
        for key in keys:
            self.tasks[key] = asyncio.create_task(self._send(key, group, first))
        await self.turns()

    async def _send(self, key: str, group: Hashable | None, first: bool) -> None:
        async with self.slots.slot(key, group, first=first):
            self.began.append(key)
            self.add(key)

    async def turns(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def test_as_many_as_configured_are_pending() -> None:
    account = Account(2)
    await account.send("1", "2", "3", "4")
    assert account.began == ["1", "2"]
    account.include("2")
    await account.turns()
    assert account.began == ["1", "2", "3"]
    account.finish("1")
    await account.turns()
    assert account.began == ["1", "2", "3", "4"]


async def test_those_in_a_block_hold_none() -> None:
    account = Account(1)
    account.add("old", InFlightState.INCLUDED)
    await account.send("1")
    assert account.began == ["1"]


async def test_one_of_each_group() -> None:
    account = Account(5)
    await account.send("1", "2", group="sub")
    await account.send("3", group="other")
    await account.send("4")
    assert account.began == ["1", "3", "4"], "others do not wait behind them"
    account.include("1")
    await account.turns()
    assert account.began[3:] == ["2"]


async def test_one_of_each_group_after_a_restart() -> None:
    account = Account(5)
    account.add("old")
    account.slots.adopt("old", "sub")
    await account.send("1", group="sub")
    assert account.began == []
    account.finish("old")
    await account.turns()
    assert account.began == ["1"]


async def test_what_failed_holds_nothing() -> None:
    account = Account(1)

    async def fail() -> None:
        async with account.slots.slot("1", "sub"):
            await account.send("2", group="sub")
            assert account.began == []
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await account.turns()
    assert account.began == ["2"]


async def test_who_is_cancelled_holds_nothing() -> None:
    account = Account(1)
    await account.send("1", "2", "3")
    account.tasks["2"].cancel()
    await account.turns()
    account.slots._held.clear()  # noqa: SLF001
    account.include("1")
    account.tasks["3"].cancel()  # at the moment at which it gets its slot
    await account.turns()
    await account.send("4")
    assert account.began == ["1", "4"]


async def test_approvals_go_first() -> None:
    account = Account(1)
    await account.send("1", "2")
    await account.send("approval", first=True)
    account.include("1")
    await account.turns()
    assert account.began == ["1", "approval"]


@pytest.mark.parametrize(
    ("limited", "group", "reason"),
    [
        (False, None, r"max_pending_transactions allows \(2\)"),
        (False, "sub", "former transaction is not in a block"),
        (True, None, "EIP-7702"),
    ],
)
async def test_who_waits_for_long_is_told_why(
    monkeypatch: pytest.MonkeyPatch, limited: bool, group: str | None, reason: str
) -> None:
    monkeypatch.setattr(module, "_MAX_WAIT", 0.01)
    account = Account(2)
    await account.send("1", group="sub")
    if group is None:
        await account.send("2")
    if limited:
        account.slots.note_one_at_a_time()
    with pytest.raises(NoSlot, match=reason):
        async with account.slots.slot("3", group):
            pass
    account.include("1")
    await account.send("4", group="sub")
    assert account.began[-1] == ("4" if not limited else "2")


async def test_many_follow_when_a_server_has_taken_two() -> None:
    """An account that is delegated meets one refusal, and not a hundred."""
    account = Account(100, proven=False)
    await account.send(*map(str, range(10)))
    assert account.began == ["0", "1"]
    account.slots.note_taken("1")
    await account.turns()
    assert len(account.began) == 10


async def test_a_single_one_proves_nothing() -> None:
    account = Account(100, proven=False)
    await account.send("0")
    account.slots.note_taken("0")
    assert account.slots.limit == 2


async def test_one_at_a_time_for_an_hour() -> None:
    account = Account(100)
    assert account.slots.limit == 100
    account.slots.note_one_at_a_time()
    assert account.slots.limit == 1
    account.add("1")
    account.slots.note_taken("2")
    assert account.slots.limit == 1, "it was sent before the refusal"
    account.time += 3600
    assert account.slots.limit == 2
    account.slots.note_taken("2")
    assert account.slots.limit == 100
