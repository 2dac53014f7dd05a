from __future__ import annotations

import pytest

from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.txm.broadcast_errors import FeeFloor
from infernet_edge.chain.txm.fees import (
    Conditions,
    Fees,
    PriceTooHigh,
    choose_fees,
    higher_tip,
    raise_fees,
)

GWEI = 10**9


def conditions(
    base_fee: int | None = 10 * GWEI, *, gas_price: int = 12 * GWEI, priority_fee: int = 2 * GWEI
) -> Conditions:
    return Conditions(BlockHeader(1, 2, "0x", base_fee), 0, 0, 10**18, gas_price, priority_fee)


def test_fees_last_while_the_base_fee_doubles() -> None:
    assert choose_fees(conditions(), None, legacy=False) == Fees(22 * GWEI, 2 * GWEI)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (100 * GWEI, Fees(22 * GWEI, 2 * GWEI)),
        (15 * GWEI, Fees(15 * GWEI, 2 * GWEI)),
        (10 * GWEI, Fees(10 * GWEI, 2 * GWEI)),
    ],
)
def test_a_cap_is_kept(cap: int, expected: Fees) -> None:
    assert choose_fees(conditions(), cap, legacy=False) == expected


def test_the_priority_fee_is_never_above_the_whole() -> None:
    fees = choose_fees(conditions(GWEI, priority_fee=5 * GWEI), 2 * GWEI, legacy=False)
    assert fees == Fees(2 * GWEI, 2 * GWEI)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_cap_below_the_base_fee(legacy: bool) -> None:
    with pytest.raises(PriceTooHigh, match=r"10000000000 wei now, and .* pay 9999999999 wei"):
        choose_fees(conditions(), 10 * GWEI - 1, legacy=legacy)


def test_what_servers_require_is_paid() -> None:
    tip, price = FeeFloor(tip=25 * GWEI), FeeFloor(price=30 * GWEI)
    assert choose_fees(conditions(), None, legacy=False, floor=tip) == Fees(45 * GWEI, 25 * GWEI)
    assert choose_fees(conditions(), None, legacy=False, floor=price) == Fees(30 * GWEI, 2 * GWEI)
    assert choose_fees(conditions(), None, legacy=True, floor=tip) == Fees(35 * GWEI, None)
    assert choose_fees(conditions(), 27 * GWEI, legacy=False, floor=tip) == Fees(27 * GWEI, tip.tip)
    with pytest.raises(PriceTooHigh, match="Gas costs 25000000000 wei"):
        choose_fees(conditions(), 24 * GWEI, legacy=False, floor=tip)


def test_steps_towards_a_floor_end() -> None:
    tips: list[int] = []
    tip: int | None = 0
    while (tip := higher_tip(tip or 0, conditions())) is not None:
        tips.append(tip)
    assert tips[:6] == [10**6, 10**7, 10**8, 10**9, 2 * 10**9, 4 * 10**9]
    assert tips[-1] == 64 * GWEI
    assert higher_tip(100 * GWEI, conditions(priority_fee=100 * GWEI)) == 200 * GWEI


def test_one_price_where_there_is_no_base_fee() -> None:
    assert choose_fees(conditions(None), None, legacy=False) == Fees(12 * GWEI, None)
    assert choose_fees(conditions(None), 5 * GWEI, legacy=False) == Fees(5 * GWEI, None)


def test_one_price_where_servers_do_not_know_1559() -> None:
    assert choose_fees(conditions(), None, legacy=True) == Fees(10 * GWEI * 5 // 4, None)


def test_fields_of_a_transaction() -> None:
    assert Fees(7, None).fields() == {"gasPrice": 7}
    assert Fees(7, 3).fields() == {
        "type": 2,
        "maxFeePerGas": 7,
        "maxPriorityFeePerGas": 3,
    }


@pytest.mark.parametrize("before", [Fees(22 * GWEI, 2 * GWEI), Fees(7, 0), Fees(99 * GWEI, 1)])
def test_a_replacement_pays_an_eighth_more_at_least(before: Fees) -> None:
    after = raise_fees(before, conditions(), None)
    assert before.priority_fee is not None
    assert after.priority_fee is not None
    assert after.max_fee * 8 >= before.max_fee * 9
    assert after.priority_fee * 8 >= before.priority_fee * 9
    assert after.max_fee >= 22 * GWEI
    assert after.priority_fee <= after.max_fee


def test_a_replacement_is_of_the_same_kind() -> None:
    after = raise_fees(Fees(20 * GWEI, None), conditions(), None)
    assert after.priority_fee is None
    assert after.max_fee * 8 >= 20 * GWEI * 9


def test_a_replacement_uses_what_the_cap_allows() -> None:
    """Not as much as would last, but more than before, and than the base fee."""
    after = raise_fees(Fees(12 * GWEI, GWEI), conditions(), 15 * GWEI)
    assert after == Fees(15 * GWEI, 2 * GWEI)


def test_a_replacement_above_the_cap() -> None:
    with pytest.raises(PriceTooHigh, match="it may pay 23000000000 wei"):
        raise_fees(Fees(22 * GWEI, 2 * GWEI), conditions(), 23 * GWEI)
