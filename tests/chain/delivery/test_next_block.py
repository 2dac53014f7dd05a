"""Where the next block can be expected, and what is not sent because of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.chain.delivery.next_block import NextBlock
from infernet_edge.chain.rpc import head_tracker
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm import slots
from infernet_edge.chain.txm.in_flight import InFlightSet, InFlightState
from infernet_edge.chain.txm.store import Transaction
from tests.support.asking import subscribe
from tests.support.evm import ALICE, COIN, NOBODY, NODE, V1, deliveries
from tests.support.onchain import chain_of, on_chain, polls, settled, until


class Chain:
    """Blocks, and the clock of the machine that sees them."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.head = 0
        self.in_flight = InFlightSet()
        self.next = NextBlock(self.in_flight, lambda: self.clock)

    def come(self, *seconds: float, own: bool = False) -> None:
        """Let blocks come, each so long after the one before it."""
        for pause in seconds:
            self.head += 1
            self.clock += pause
            if own:
                transaction = Transaction(1, "k", 1, "0x", 0, "0x", b"", 1, None)
                included = self.in_flight.new(transaction, InFlightState.INCLUDED)
                included.block = self.head
                self.in_flight.by_key["k"] = included
            block = BlockHeader(self.head, int(self.clock), f"0x{self.head}", None)
            self.next.answers(block, [])
            self.next.answers(block, [])  # polls are more frequent
            self.in_flight.by_key.clear()


def test_blocks_on_a_schedule() -> None:
    chain = Chain()
    chain.come(0, 12, 12, 12)
    assert chain.next.expected() is None, "too few"
    chain.come(12)
    assert chain.next.expected() == chain.clock + 12
    seen = chain.clock
    for passed, expected in ((10.9, 12), (11.1, 24), (13, 24), (30, 36)):
        chain.clock = seen + passed
        assert chain.next.expected() == seen + expected, passed


def test_slots_that_are_missed() -> None:
    chain = Chain()
    chain.come(0, 12, 24, 12, 12, 24)
    assert chain.next.expected() == chain.clock + 12


@pytest.mark.parametrize("pauses", [(3, 40, 7, 100, 2), (60, 60, 60, 60, 5), (0, 0, 0, 0, 0)])
def test_no_schedule(pauses: tuple[int, ...]) -> None:
    chain = Chain()
    chain.come(0, *pauses)
    assert chain.next.expected() is None


def test_blocks_on_demand_of_this_node_only() -> None:
    """It delivers each minute, so a block comes each minute."""
    chain = Chain()
    chain.come(0, *[60] * 20, own=True)
    assert chain.next.expected() is None


def test_a_schedule_is_known_further_while_the_node_delivers() -> None:
    chain = Chain()
    chain.come(0, *[12] * 4)
    chain.come(*[12] * 20, own=True)
    assert chain.next.expected() == chain.clock + 12


def test_a_block_that_came_for_this_node_at_once() -> None:
    """Others use the chain regularly, so that it looked like a schedule."""
    chain = Chain()
    chain.come(0, *[60] * 8)
    assert chain.next.expected() == chain.clock + 60
    chain.come(1, own=True)
    assert chain.next.expected() is None


def test_blocks_that_were_not_seen_count() -> None:
    chain = Chain()
    chain.come(0)
    for _ in range(4):
        chain.head += 2
        chain.come(36)
    assert chain.next.expected() == chain.clock + 12


def test_while_something_is_pending_nothing_is_learned() -> None:
    chain = Chain()
    chain.come(0)
    for _ in range(6):
        transaction = Transaction(1, "k", 1, "0x", 0, "0x", b"", 1, None)
        chain.in_flight.by_key["k"] = chain.in_flight.new(transaction, InFlightState.PENDING)
        chain.come(12)
    assert chain.next.expected() is None


async def test_what_the_next_block_is_too_late_for_is_not_sent(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await chain_of(node).head.seen.wait()
        v1.anvil.set_automine(False)
        terms = ("echo", 1, 8, 1, False, COIN, 0, NOBODY, NOBODY)  # a period of 8 seconds
        data = consumer.encode("createSubscription", *terms)
        for number in range(7):  # the last one begins the interval
            if number == 5:
                v1.anvil.send_raw(ALICE, consumer.address, data, gas=500_000)
            v1.anvil.increase_time(12)
            await polls(node, 2)
        found = await settled(node)
        assert (found["state"], found["interval"]) == ("failed", 1)
        assert "before the next block is expected" in found["reason"]
        assert len(echo.calls) == 1
    assert v1.anvil.nonce(NODE.address, "pending") == 0


async def test_where_blocks_come_on_demand_all_is_sent(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await chain_of(node).head.seen.wait()
        for pause in (3, 40, 7, 60, 2):
            v1.anvil.increase_time(pause)
            await polls(node, 2)
        subscribe(v1, consumer, period=8, frequency=1)
        v1.anvil.increase_time(9)
        assert (await settled(node))["state"] == "delivered"


async def test_while_the_chain_stands_still_one_transaction_waits(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of the node, several intervals have begun."""
    monkeypatch.setattr(head_tracker, "_MAX_BLOCK_INTERVAL", 0.2)
    monkeypatch.setattr(slots, "_MAX_WAIT", 0.2)
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await chain_of(node).head.seen.wait()
        subscribe(v1, consumer, period=2, frequency=1000)
        await until(lambda: len(deliveries(consumer)) >= 1)
        v1.anvil.set_automine(False)
        calls = len(echo.calls)
        await until(lambda: len(echo.calls) >= calls + 4)
        assert len(v1.anvil.mempool()) == 1
        v1.anvil.set_automine(True)
        v1.anvil.mine()
        before = len(deliveries(consumer))
        await until(lambda: len(deliveries(consumer)) > before)
