"""Who may ask for what, and what it has to be worth."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.contracts.subscription import ZERO_ADDRESS, Subscription
from infernet_edge.chain.guard.container_lookup import ContainerLookup, container_hash
from infernet_edge.chain.guard.rules import SubscriptionRules, check_expiry
from infernet_edge.config.model import Container
from infernet_edge.errors import BadRequest, Refused
from tests.support.subscriptions import (
    OWNER,
    TOKEN,
    VERIFIER,
    chain_config,
    subscription_v0,
    subscription_v1,
)

WALLET = "0x" + 40 * "7"
CONTAINERS = (
    Container(id="echo", image="x"),
    Container(id="internal", image="x", external=False),
    Container(id="prover", image="x", generates_proofs=True),
    Container(id="closed", image="x", allowed_addresses=[VERIFIER]),
    Container(id="friends", image="x", allowed_addresses=[OWNER.lower().removeprefix("0x")]),
    Container(id="private", image="x", allowed_delegate_addresses=[VERIFIER, TOKEN.upper()[2:]]),
    Container(id="paid", image="x", accepted_payments={TOKEN.lower(): 100, ZERO_ADDRESS: 7}),
    Container(id="dear", image="x", accepted_payments={TOKEN[2:]: 10**30}),
)
MANY = 2**256 - 1


def rules(payment_address: str | None = WALLET) -> SubscriptionRules:
    config = chain_config(*CONTAINERS, payment_address=payment_address)
    return SubscriptionRules(config, ContainerLookup(config))


def refusal(subscription: Subscription, *, delegated: bool = False, **config: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        rules(**config).check(subscription, delegated=delegated)
    return caught.value


@pytest.mark.parametrize("delegated", [True, False])
@pytest.mark.parametrize(
    ("subscription", "containers"),
    [
        (subscription_v1("echo"), ("echo",)),
        (subscription_v1("echo,internal,prover"), ("echo", "internal", "prover")),
        (subscription_v0("echo,internal,prover,echo"), ("echo", "internal", "prover", "echo")),
        (subscription_v1("echo,prover", verifier=VERIFIER), ("echo", "prover")),
        (subscription_v1("friends"), ("friends",)),
        (subscription_v1("private", owner=TOKEN), ("private",)),
        (subscription_v1("paid", payment_amount=100, payment_token=TOKEN), ("paid",)),
        (subscription_v1("paid", payment_amount=7), ("paid",)),
        (subscription_v1("echo", payment_amount=1, payment_token=VERIFIER), ("echo",)),
        (
            subscription_v1("paid,dear", payment_amount=10**30 + 100, payment_token=TOKEN),
            ("paid", "dear"),
        ),
        (subscription_v1("dear", payment_amount=MANY, payment_token=TOKEN), ("dear",)),
    ],
)
def test_what_is_served(
    subscription: Subscription, containers: tuple[str, ...], delegated: bool
) -> None:
    assert rules().check(subscription, delegated=delegated) == containers


@pytest.mark.parametrize(
    ("subscription", "error", "params"),
    [
        (
            subscription_v1("other"),
            "Container not supported",
            {"container": "0x" + container_hash(["other"]).hex()},
        ),
        (subscription_v0("echo,other"), "Container not supported", {"container": "other"}),
        (subscription_v0("echo, internal"), "Container not supported", {"container": " internal"}),
        (subscription_v0("x" * 999), "Container not supported", {"container": "x" * 128}),
        (subscription_v0(""), "No containers specified", {}),
        (
            subscription_v1("internal,echo"),
            "First container must be external",
            {"first_container": "internal"},
        ),
        (
            subscription_v1("prover,echo", verifier=VERIFIER),
            "Container does not generate proof",
            {"container": "echo"},
        ),
        (
            subscription_v1("echo,closed"),
            "Container not allowed for address",
            {"container": "closed", "address": OWNER},
        ),
        (
            subscription_v1("paid", payment_amount=100, payment_token=VERIFIER),
            "Payment token not accepted",
            {"container": "paid", "token": VERIFIER},
        ),
        (
            subscription_v1("paid", payment_amount=99, payment_token=TOKEN),
            "Payment too small",
            {"token": TOKEN, "amount": 99, "minimum": 100},
        ),
        (
            subscription_v1("paid,dear", payment_amount=10**30 + 99, payment_token=TOKEN),
            "Payment too small",
            {"token": TOKEN, "amount": 10**30 + 99, "minimum": 10**30 + 100},
        ),
        (
            subscription_v1("paid"),
            "Payment too small",
            {"token": ZERO_ADDRESS, "amount": 0, "minimum": 7},
        ),
        (
            subscription_v0("dear"),
            "Subscription pays nothing",
            {"container": "dear"},
        ),
    ],
)
def test_what_is_refused(subscription: Subscription, error: str, params: dict[str, Any]) -> None:
    refused = refusal(subscription)
    assert (refused.status, refused.message, refused.params) == (405, error, params)


def test_delegated_and_on_chain_owners_are_reported_apart() -> None:
    assert rules().check(subscription_v1("closed"), delegated=True) == ("closed",)
    assert rules().check(subscription_v1("private"), delegated=False) == ("private",)
    refused = refusal(subscription_v1("private"), delegated=True)
    assert refused.message == "Container not allowed for address"
    assert refused.params == {"container": "private", "address": OWNER}


def test_a_node_without_a_wallet_takes_no_payment() -> None:
    paid = subscription_v1("echo", payment_amount=1)
    assert refusal(paid, payment_address=None).message == "Node has no payment address"
    assert rules(None).check(subscription_v1("echo"), delegated=False) == ("echo",)


def test_too_many_containers() -> None:
    with pytest.raises(BadRequest, match="at most 64 ids, found 65") as caught:
        rules().check(subscription_v0(",".join(["echo"] * 65)), delegated=True)
    assert caught.value.params == {"field": "subscription.container_id"}


def test_a_signature_is_good_until_the_second_before_its_expiry() -> None:
    check_expiry(1000, 999)
    for now in (1000, 1001):
        with pytest.raises(Refused, match="Signature expired"):
            check_expiry(1000, now)


@pytest.mark.parametrize("delegated", [True, False])
@pytest.mark.parametrize("subscription", [subscription_v0, subscription_v1])
def test_who_asks_for_no_answers(subscription: Any, delegated: bool) -> None:
    refused = refusal(subscription(redundancy=0), delegated=delegated)
    assert str(refused) == "Subscription asks for no answers"
