"""The times of a subscription, and its way from and to the ABI."""

from __future__ import annotations

import msgspec
import pytest
from eth_abi.abi import decode, encode

from infernet_edge.chain.contracts.subscription import (
    ZERO_ADDRESS,
    Payment,
    Subscription,
    SubscriptionV0,
    SubscriptionV1,
    abi_type,
)
from tests.support.subscriptions import TOKEN, VERIFIER, subscription_v0, subscription_v1

BOTH = pytest.mark.parametrize("kind", [SubscriptionV1, SubscriptionV0])


@BOTH
def test_fields_are_in_the_order_of_the_struct(kind: type[Subscription]) -> None:
    names = tuple(field.name for field in msgspec.structs.fields(kind))
    assert names == tuple(field.name for field in kind.fields)


def test_types_of_the_contracts() -> None:
    assert abi_type(SubscriptionV1) == (
        "(address,uint32,uint32,uint32,uint16,bytes32,bool,address,uint256,address,address)"
    )
    assert abi_type(SubscriptionV0) == (
        "(address,uint32,uint32,uint32,uint16,uint48,uint32,string,bytes)"
    )


@pytest.mark.parametrize(
    "subscription",
    [
        subscription_v1(payment_amount=2**256 - 1, payment_token=TOKEN, lazy=True),
        subscription_v0("a,b", inputs=b"\x00\xff", max_gas_price=2**48 - 1),
    ],
)
def test_there_and_back(subscription: Subscription) -> None:
    kind = type(subscription)
    data = encode([abi_type(kind)], [subscription.to_abi()])
    (values,) = decode([abi_type(kind)], data)
    assert kind.from_abi(values) == subscription


@pytest.mark.parametrize(
    ("now", "interval"), [(0, 0), (999, 0), (1000, 1), (1059, 1), (1060, 2), (1179, 3), (1180, 4)]
)
def test_intervals_with_a_period(now: int, interval: int) -> None:
    subscription = subscription_v1(active_at=1000, period=60, frequency=3)
    assert subscription.interval_at(now) == interval


@pytest.mark.parametrize(("now", "interval"), [(999, 0), (1000, 1), (2**32, 1)])
def test_without_a_period_the_one_interval_never_ends(now: int, interval: int) -> None:
    subscription = subscription_v0(active_at=1000)
    assert subscription.interval_at(now) == interval
    assert subscription.end_time(1) is None


def test_times_of_intervals() -> None:
    subscription = subscription_v1(active_at=1000, period=60, frequency=3)
    assert [subscription.due_time(interval) for interval in (1, 2, 3)] == [1000, 1060, 1120]
    assert [subscription.end_time(interval) for interval in (1, 3)] == [1060, 1180]
    for interval in (1, 2, 3):
        due = subscription.due_time(interval)
        assert (subscription.interval_at(due - 1), subscription.interval_at(due)) == (
            interval - 1,
            interval,
        )


def test_cancelled_and_unknown() -> None:
    assert subscription_v1(active_at=2**32 - 1).is_cancelled
    assert not subscription_v1().is_cancelled
    assert subscription_v0().exists
    assert not subscription_v0(owner=ZERO_ADDRESS).exists


def test_payment_and_proof() -> None:
    paid = subscription_v1(payment_amount=5, payment_token=TOKEN, verifier=VERIFIER)
    assert (paid.payment, paid.requires_proof) == (Payment(5, TOKEN), True)
    assert not subscription_v1().requires_proof
    assert subscription_v0().payment == Payment(0, ZERO_ADDRESS)
    assert not subscription_v0().requires_proof


def test_generations() -> None:
    assert (subscription_v1().generation, subscription_v0().generation) == ("1.x", "0.1")
