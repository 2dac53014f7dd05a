"""The coordinator of SDK 0.1."""

from __future__ import annotations

import pytest

from tests.support.abi import refusal
from tests.support.delegated import request_v0
from tests.support.evm import ALICE, NODE, OTHER_NODE, V0, deliveries


def test_a_node_is_active_an_hour_after_it_registered(v0: V0) -> None:
    consumer = v0.consumer()
    request = request_v0(v0, consumer, expires_in=10_000)
    with refusal("NodeNotActive"):
        request.deliver(v0.coordinator)
    with refusal("NodeNotActivateable", 0):
        v0.coordinator.send("activateNode", sender=NODE)
    v0.coordinator.send("registerNode", NODE.address, sender=NODE)
    started = v0.anvil.now()
    assert v0.coordinator.call("nodeInfo", NODE.address) == (1, started)
    with refusal("NodeNotRegisterable", NODE.address.lower(), 1):
        v0.coordinator.send("registerNode", NODE.address, sender=NODE)
    with refusal("CooldownActive", started):
        v0.coordinator.send("activateNode", sender=NODE)
    v0.anvil.set_time(started + 3600)
    v0.coordinator.send("activateNode", sender=NODE)
    assert v0.coordinator.call("nodeInfo", NODE.address) == (2, 0)
    request.deliver(v0.coordinator)
    assert len(deliveries(consumer)) == 1


def test_a_delegated_subscription_is_created_and_delivered_at_once(v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    request = request_v0(v0, consumer, nonce=3, containers="a,b", inputs=b"in the subscription")
    request.deliver(v0.coordinator, input=b"in", output=b"out", proof=b"proof")
    assert v0.delegated_id(consumer.address, 3) == 1
    assert v0.coordinator.call("subscriptions", 1) == tuple(request.subscription.values())
    assert v0.fulfilled() == [{"id": 1, "node": NODE.address}]
    (received,) = deliveries(consumer)
    assert (received["input"], received["output"], received["proof"]) == (b"in", b"out", b"proof")
    assert received["node"] == NODE.address


def test_a_subscription_is_delivered_by_its_id(v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    consumer.send("createSubscription", "echo", b"question", 2, 50)
    with refusal("SubscriptionNotActive"):
        v0.coordinator.send("deliverCompute", 1, 1, b"", b"", b"", sender=NODE)
    v0.anvil.increase_time(50)
    v0.coordinator.send("deliverCompute", 1, 1, b"", b"", b"", sender=NODE)
    assert v0.redundancy_count(1, 1) == 1
    with refusal("IntervalCompleted"):
        v0.coordinator.send("deliverCompute", 1, 1, b"", b"", b"", sender=NODE)
    with refusal("IntervalMismatch"):
        v0.coordinator.send("deliverCompute", 1, 2, b"", b"", b"", sender=NODE)
    v0.anvil.increase_time(100)
    with refusal("SubscriptionCompleted"):
        v0.coordinator.send("deliverCompute", 1, 3, b"", b"", b"", sender=NODE)
    consumer.send("cancelSubscription", 1)
    with refusal("SubscriptionNotFound"):
        v0.coordinator.send("deliverCompute", 1, 3, b"", b"", b"", sender=NODE)


def test_a_node_answers_once_and_nonces_are_not_replayed(v0: V0) -> None:
    v0.activate(NODE)
    v0.activate(OTHER_NODE)
    consumer = v0.consumer()
    request = request_v0(v0, consumer, redundancy=2)
    request.deliver(v0.coordinator)
    with refusal("NodeRespondedAlready"):
        request.deliver(v0.coordinator)
    request.deliver(v0.coordinator, sender=OTHER_NODE)
    with refusal("IntervalCompleted"):
        request_v0(v0, consumer, containers="other").deliver(v0.coordinator)
    assert v0.coordinator.call("id") == 2


def test_the_signature_is_checked(v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    with refusal("SignerMismatch"):
        request_v0(v0, consumer, signer=NODE).deliver(v0.coordinator)
    with refusal("SignerMismatch"):
        request_v0(v0, consumer, chain_id=1).deliver(v0.coordinator)
    request = request_v0(v0, consumer)
    changed = {
        "activeAt": 1,
        "period": 1,
        "frequency": 2,
        "redundancy": 2,
        "maxGasPrice": 1,
        "maxGasLimit": 1,
        "containerId": "other",
        "inputs": b"other",
    }
    assert {"owner", *changed} == set(request.subscription)
    for field, value in changed.items():
        other = request._replace(subscription=request.subscription | {field: value})
        with refusal("SignerMismatch"):
            other.deliver(v0.coordinator)
    with refusal("InvalidSignature"):
        request._replace(signature=request.signature | {"v": 1}).deliver(v0.coordinator)
    v0.anvil.set_time(request.signature["expiry"])
    with refusal("SignatureExpired"):
        request.deliver(v0.coordinator)
    assert consumer.call("signer") == ALICE.address


def test_gas_is_capped_in_price_and_amount(v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    with refusal("GasLimitExceeded"):
        request_v0(v0, consumer, maxGasLimit=150_000).deliver(v0.coordinator)
    cheap = request_v0(v0, consumer, maxGasPrice=1)
    data = v0.coordinator.encode("deliverComputeDelegatee", *cheap.delivery())
    sent = v0.anvil.send_raw(NODE, v0.coordinator.address, data, gas=1_000_000)
    receipt = v0.anvil.wait_for_receipt(sent)
    assert not receipt.succeeded
    question = {
        "from": NODE.address,
        "to": v0.coordinator.address,
        "data": "0x" + data.hex(),
        "gasPrice": hex(10**10),
    }
    with refusal("GasPriceExceeded"):
        v0.anvil.ask(question)
    request_v0(v0, consumer, maxGasPrice=10**12).deliver(v0.coordinator)


def test_a_consumer_refuses_with_a_text(v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    consumer.send("refuse", "not today")
    with refusal("Error", "not today"):
        request_v0(v0, consumer).deliver(v0.coordinator)
    with pytest.raises(AssertionError), refusal("Error", "tomorrow"):
        request_v0(v0, consumer).deliver(v0.coordinator)
