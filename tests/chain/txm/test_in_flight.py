"""The states of transactions, by a clock that stands still until a test advances it."""

from __future__ import annotations

import pytest

from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm.in_flight import (
    InFlight,
    InFlightSet,
    InFlightState,
    NextStep,
    Observation,
    StuckLimits,
)
from infernet_edge.chain.txm.store import Signed, Transaction

LIMITS = StuckLimits(
    stuck=60.0, stuck_without_blocks=300.0, rebroadcast=3.0, rebroadcast_limit=10.0
)
NONCE = 7


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def those(clock: Clock) -> InFlightSet:
    return InFlightSet(LIMITS, clock)


def transaction(key: str = "one", nonce: int = NONCE, chain_id: int = 1) -> Transaction:
    signed = [Signed("0x11", b"raw", 5, None)]
    return Transaction(1, key, chain_id, "0xsender", nonce, "0xto", b"", 100, None, signed)


def add(those: InFlightSet, key: str = "one", nonce: int = NONCE, chain_id: int = 1) -> InFlight:
    added = those.new(transaction(key, nonce, chain_id), InFlightState.PENDING)
    those.by_key[key] = added
    return added


def seen(
    head: int = 10,
    mined: int = NONCE,
    pending: int = NONCE + 1,
    receipt: int | None = None,
    base_fee: int | None = None,
) -> Observation:
    return Observation(BlockHeader(head, 0, "0x", base_fee), mined, pending, receipt)


@pytest.mark.parametrize("depth", [0, 2])
def test_it_is_final_when_so_many_blocks_follow_its_own(those: InFlightSet, depth: int) -> None:
    one = add(those)
    for head in range(10, 10 + depth):
        assert one.observe(seen(head, receipt=10), depth) is NextStep.WAIT
        assert (one.state, one.block) == (InFlightState.INCLUDED, 10)
    assert one.observe(seen(10 + depth, receipt=10), depth) is NextStep.FINISH


def test_a_reorg_makes_it_pending_again(those: InFlightSet) -> None:
    one = add(those)
    one.observe(seen(receipt=10), 5)
    assert one.observe(seen(11), 5) is NextStep.WAIT
    assert (one.state, one.block) == (InFlightState.PENDING, 0)
    assert one.observe(seen(12, receipt=12), 5) is NextStep.WAIT
    assert (one.state, one.block) == (InFlightState.INCLUDED, 12)


def test_it_is_stuck_when_its_nonce_was_the_next_for_long_and_blocks_came(
    those: InFlightSet, clock: Clock
) -> None:
    one = add(those)
    clock.now += 1000
    assert one.observe(seen(10, mined=NONCE - 1), 0) is NextStep.WAIT, "another one is the next"
    assert one.observe(seen(10), 0) is NextStep.WAIT
    clock.now += 61
    assert one.observe(seen(12), 0) is NextStep.WAIT, "too few blocks"
    assert one.observe(seen(13), 0) is NextStep.REPLACE
    assert one.observe(seen(14), 0) is NextStep.WAIT, "its time begins again"
    clock.now += 61
    assert one.observe(seen(17), 0) is NextStep.REPLACE


def test_without_blocks_it_is_stuck_much_later(those: InFlightSet, clock: Clock) -> None:
    one = add(those)
    one.observe(seen(10), 0)
    clock.now += 299
    assert one.observe(seen(10), 0) is NextStep.WAIT
    clock.now += 2
    assert one.observe(seen(10), 0) is NextStep.REPLACE


def test_what_is_too_cheap_is_replaced_once(those: InFlightSet) -> None:
    one = add(those)
    one.note_too_cheap()
    assert one.observe(seen(10, mined=NONCE - 1), 0) is NextStep.REPLACE
    assert one.observe(seen(11, mined=NONCE - 1), 0) is NextStep.WAIT


def test_what_pays_less_than_the_base_fee_is_replaced_with_each_block(those: InFlightSet) -> None:
    """Whether its nonce is the next or not."""
    one, two = add(those), add(those, "two", NONCE + 1)
    for head in (10, 11):
        for each in (one, two):
            assert each.observe(seen(head, pending=NONCE + 2, base_fee=5), 0) is NextStep.WAIT
    for head in (12, 13):
        for each in (one, two):
            dear = seen(head, pending=NONCE + 2, base_fee=6)
            assert each.observe(dear, 0) is NextStep.REPLACE
            assert each.observe(dear, 0) is NextStep.WAIT


def test_one_at_a_time_is_broadcast_when_its_nonce_is_the_next(those: InFlightSet) -> None:
    two = add(those, "two", NONCE + 1)
    two.note_one_at_a_time()
    assert two.observe(seen(10, pending=NONCE + 1), 0) is NextStep.WAIT
    in_turn = seen(11, mined=NONCE + 1, pending=NONCE + 1)
    assert two.observe(in_turn, 0) is NextStep.REBROADCAST


def test_what_no_mempool_has_is_broadcast_again_with_longer_pauses(
    those: InFlightSet, clock: Clock
) -> None:
    one = add(those)
    began, times = clock.now, []
    for _ in range(40):
        if one.observe(seen(pending=NONCE, mined=NONCE - 1), 0) is NextStep.REBROADCAST:
            times.append(clock.now - began)
            one.note_broadcast()
        clock.now += 1
    assert times == [0, 3, 9, 19, 29, 39]
    assert one.observe(seen(pending=NONCE + 1), 0) is NextStep.WAIT


def test_a_used_nonce_is_checked_when_three_observations_agree(those: InFlightSet) -> None:
    one = add(those)
    used = seen(mined=NONCE + 1)
    steps = [one.observe(used, 0) for _ in range(6)]
    assert steps == [NextStep.WAIT, NextStep.WAIT, NextStep.CHECK_NONCE] * 2
    one.observe(used, 0)
    one.observe(used, 0)
    one.observe(seen(mined=NONCE), 0)
    assert one.observe(used, 0) is NextStep.WAIT, "they did not agree in a row"


def test_nonces_and_funds_of_the_others(those: InFlightSet) -> None:
    first, second = add(those, "one", 7), add(those, "two", 9)
    add(those, "elsewhere", 3, chain_id=2)
    new = transaction("new", 0)
    assert those.nonces_besides(new) == {7, 9}
    assert those.nonces_besides(first.transaction) == {9}
    assert those.reserved_besides(new) == 3 * 100 * 5
    second.observe(seen(receipt=10), 5)
    assert those.reserved_besides(new) == 2 * 100 * 5, "what is included has paid"
    assert those.has_later_nonce(first.transaction)
    assert not those.has_later_nonce(second.transaction)
    assert len(those) == 3


def test_later_nonces_that_no_server_has(those: InFlightSet) -> None:
    """Where servers take one transaction after the other."""
    one, two = add(those), add(those, "two", NONCE + 1)
    assert those.has_later_nonce(one.transaction)
    assert those.has_later_nonce(one.transaction, one_at_a_time=True)
    two.note_one_at_a_time()
    assert not those.has_later_nonce(one.transaction, one_at_a_time=True)
    three = add(those, "three", NONCE + 2)
    three.state = InFlightState.BROADCASTING
    assert not those.has_later_nonce(one.transaction, one_at_a_time=True)
    assert those.has_later_nonce(one.transaction)
    assert not those.has_later_nonce(three.transaction)


def test_a_gap_lasts_when_it_is_there_for_long(those: InFlightSet, clock: Clock) -> None:
    add(those, "one", 7)
    assert not those.has_lasting_gap([7], 5, 6)
    clock.now += 61
    assert those.has_lasting_gap([7], 5, 6)
    those.restart_gap_time()
    assert not those.has_lasting_gap([7], 5, 6)


@pytest.mark.parametrize(("mined", "pending"), [(7, 7), (5, 7), (3, 4)])
def test_no_gap(those: InFlightSet, clock: Clock, mined: int, pending: int) -> None:
    """The nonce is the next, or one that waits is before it, or one of ours is the next."""
    add(those, "one", 7)
    add(those, "not asked about", 3)
    for _ in range(2):
        assert not those.has_lasting_gap([7], mined, pending)
        clock.now += 61
