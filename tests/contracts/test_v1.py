"""The coordinator of SDK 1.x, its reader and its inbox."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.support.abi import Reverted, refusal
from tests.support.delegated import container_hash, request_v1
from tests.support.evm import (
    ALICE,
    CHAIN_ID,
    COIN,
    NOBODY,
    NODE,
    OTHER_NODE,
    V1,
    Contract,
    Receipt,
    deliveries,
)


def deliver(
    v1: V1,
    subscription_id: int = 1,
    interval: int = 1,
    *,
    output: bytes = b"",
    sender: LocalAccount = NODE,
    gas: int | None = None,
) -> Receipt:
    return v1.coordinator.send(
        "deliverCompute",
        subscription_id,
        interval,
        b"",
        output,
        b"",
        NOBODY,
        sender=sender,
        gas=gas,
    )


def ask(v1: V1, *, input: bytes = b"", redundancy: int = 1) -> Contract:
    consumer = v1.deploy("CallbackConsumer")
    consumer.send("requestCompute", "echo", input, redundancy, COIN, 0, NOBODY, NOBODY)
    return consumer


def subscribe(
    v1: V1, *, frequency: int = 1, period: int = 0, redundancy: int = 1, lazy: bool = False
) -> Contract:
    consumer = v1.deploy("SubscriptionConsumer")
    unpaid = (COIN, 0, NOBODY, NOBODY)
    consumer.send("createSubscription", "echo", frequency, period, redundancy, lazy, *unpaid)
    return consumer


def delegated_consumer(v1: V1) -> Contract:
    return v1.deploy("DelegatedConsumer", ALICE.address)


def test_the_registry_leads_to_every_contract(v1: V1) -> None:
    for name, contract in {
        "COORDINATOR": v1.coordinator,
        "INBOX": v1.inbox,
        "READER": v1.reader,
        "FEE": v1.fee,
        "WALLET_FACTORY": v1.wallet_factory,
    }.items():
        assert v1.registry.call(name) == contract.address


def test_a_callback_is_asked_for_and_delivered(v1: V1) -> None:
    assert v1.newest_id() == 0
    consumer = ask(v1, input=b"question")
    assert v1.newest_id() == 1
    assert v1.coordinator.events("SubscriptionCreated") == [{"id": 1}]
    assert v1.subscription(1) == {
        "owner": consumer.address,
        "activeAt": v1.anvil.now(),
        "period": 0,
        "frequency": 1,
        "redundancy": 1,
        "containerId": container_hash("echo"),
        "lazy": False,
        "verifier": NOBODY,
        "paymentAmount": 0,
        "paymentToken": COIN,
        "wallet": NOBODY,
    }
    assert consumer.call("getContainerInputs", 1, 1, v1.anvil.now(), NODE.address) == b"question"

    v1.coordinator.send("deliverCompute", 1, 1, b"in", b"out", b"proof", NOBODY, sender=NODE)
    (received,) = deliveries(consumer)
    assert received == {
        "subscriptionId": 1,
        "interval": 1,
        "redundancy": 1,
        "node": NODE.address,
        "input": b"in",
        "output": b"out",
        "proof": b"proof",
        "containerId": bytes(32),
        "index": 0,
        "timestamp": v1.anvil.now(),
    }
    assert v1.fulfilled() == [{"id": 1, "node": NODE.address}]
    assert v1.redundancy_count(1, 1) == 1
    assert v1.node_responded(1, 1, NODE.address)
    assert not v1.node_responded(1, 1, OTHER_NODE.address)


def test_as_many_nodes_may_answer_as_asked_for(v1: V1) -> None:
    consumer = ask(v1, redundancy=2)
    deliver(v1)
    with refusal("NodeRespondedAlready"):
        deliver(v1)
    deliver(v1, sender=OTHER_NODE)
    with refusal("IntervalCompleted"):
        deliver(v1, sender=ALICE)
    assert [one["redundancy"] for one in deliveries(consumer)] == [1, 2]


def test_an_unknown_subscription_is_not_found(v1: V1) -> None:
    with refusal("SubscriptionNotFound"):
        deliver(v1, 1)


def test_intervals_follow_the_time_of_the_chain(v1: V1) -> None:
    subscribe(v1, frequency=2, period=100)
    start = v1.subscription(1)["activeAt"]
    assert start == v1.anvil.now() + 100
    with refusal("SubscriptionNotActive"):
        deliver(v1)
    v1.anvil.set_time(start)
    with refusal("IntervalMismatch"):
        deliver(v1, interval=2)
    deliver(v1, interval=1)
    v1.anvil.set_time(start + 100)
    with refusal("IntervalMismatch"):
        deliver(v1, interval=1)
    deliver(v1, interval=2)
    v1.anvil.set_time(start + 200)
    with refusal("SubscriptionCompleted"):
        deliver(v1, interval=3)
    assert v1.coordinator.call("getSubscriptionInterval", start, 100) == 3


def test_only_the_owner_cancels(v1: V1) -> None:
    consumer = subscribe(v1, frequency=5, period=10)
    with refusal("NotSubscriptionOwner"):
        v1.coordinator.send("cancelSubscription", 1)
    consumer.send("cancelSubscription", 1)
    assert v1.subscription(1)["activeAt"] == 2**32 - 1
    assert v1.coordinator.events("SubscriptionCancelled") == [{"id": 1}]
    with refusal("SubscriptionNotActive"):
        deliver(v1)


def test_lazy_answers_go_to_the_inbox(v1: V1) -> None:
    consumer = subscribe(v1, lazy=True)
    deliver(v1, output=b"out")
    (received,) = deliveries(consumer)
    assert (received["output"], received["containerId"]) == (b"", container_hash("echo"))
    stored = v1.inbox.call("read", received["containerId"], NODE.address, received["index"])
    assert (stored["subscriptionId"], stored["interval"], stored["output"]) == (1, 1, b"out")
    with refusal("NotCoordinator"):
        v1.inbox.send("writeViaCoordinator", bytes(32), NODE.address, 1, 1, b"", b"", b"")


def test_the_input_of_a_subscription_is_a_view_that_may_revert(v1: V1) -> None:
    consumer = subscribe(v1)
    question = (1, 2, 3, NODE.address)
    types = ["uint32", "uint32", "uint32", "address"]
    assert consumer.call("getContainerInputs", *question) == encode(types, question)
    consumer.send("setInput", b"fixed", False)
    assert consumer.call("getContainerInputs", *question) == b"fixed"
    consumer.send("setInput", b"", True)
    with refusal("Error", "no input today"):
        consumer.call("getContainerInputs", *question)


def test_the_reader_reads_in_batches(v1: V1) -> None:
    first, second = ask(v1), subscribe(v1, frequency=3, period=10, redundancy=4)
    deliver(v1)
    one, two, none = v1.reader.call("readSubscriptionBatch", 1, 4)
    assert (one, two) == (v1.subscription(1), v1.subscription(2))
    assert (one["owner"], two["owner"]) == (first.address, second.address)
    assert none["owner"] == NOBODY
    counts = v1.reader.call("readRedundancyCountBatch", [1, 1, 2], [1, 2, 1])
    assert tuple(counts) == (1, 0, 0)


# Delegated subscriptions


def test_a_delegated_subscription_is_created_and_delivered_at_once(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    request = request_v1(v1, consumer, nonce=7, containers="a,b", paymentAmount=0, lazy=False)
    assert v1.delegated_id(consumer.address, 7) == 0
    request.deliver(v1.coordinator, input=b"in", output=b"out", proof=b"proof")
    assert v1.delegated_id(consumer.address, 7) == 1
    assert v1.subscription(1) == request.subscription
    assert v1.coordinator.call("maxSubscriberNonce", consumer.address) == 7
    (received,) = deliveries(consumer)
    assert (received["input"], received["output"], received["proof"]) == (b"in", b"out", b"proof")


def test_a_delegated_subscription_goes_on_under_its_id(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    request = request_v1(v1, consumer, frequency=2, period=60, redundancy=2, expires_in=30)
    request.deliver(v1.coordinator)
    with refusal("NodeRespondedAlready"):
        request.deliver(v1.coordinator)
    v1.anvil.increase_time(60)
    # The signature has expired, which no longer matters.
    request.deliver(v1.coordinator, 2)
    deliver(v1, 1, 2, sender=OTHER_NODE)
    assert v1.newest_id() == 1
    assert len(deliveries(consumer)) == 3
    assert v1.coordinator.call("createSubscriptionDelegatee", *request.creation) == (1, True)


def test_a_nonce_is_used_once(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    request_v1(v1, consumer).deliver(v1.coordinator)
    with refusal("IntervalCompleted"):
        request_v1(v1, consumer, containers="other").deliver(v1.coordinator, sender=OTHER_NODE)
    assert v1.newest_id() == 1


@pytest.mark.parametrize(
    "wrong",
    [{"signer": NODE}, {"chain_id": CHAIN_ID + 1}],
    ids=["by somebody else", "for another chain"],
)
def test_other_signatures_mismatch(v1: V1, wrong: dict[str, Any]) -> None:
    request = request_v1(v1, delegated_consumer(v1), **wrong)
    with refusal("SignerMismatch"):
        request.deliver(v1.coordinator)


def test_each_field_is_signed(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    request = request_v1(v1, consumer)
    changed = {
        "activeAt": 1,
        "period": 1,
        "frequency": 2,
        "redundancy": 2,
        "containerId": container_hash("other"),
        "lazy": True,
        "verifier": NODE.address,
        "paymentAmount": 1,
        "paymentToken": NODE.address,
        "wallet": NODE.address,
    }
    assert {"owner", *changed} == set(request.subscription)
    for field, value in changed.items():
        other = request._replace(subscription=request.subscription | {field: value})
        with refusal("SignerMismatch"):
            other.deliver(v1.coordinator)
    request.deliver(v1.coordinator)


def test_a_signature_expires_at_its_second(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    request = request_v1(v1, consumer, expires_in=100)
    v1.anvil.set_time(request.signature["expiry"])
    with refusal("SignatureExpired"):
        v1.coordinator.call("createSubscriptionDelegatee", *request.creation)


def test_a_signature_of_no_form_is_invalid(v1: V1) -> None:
    request = request_v1(v1, delegated_consumer(v1))
    for wrong in ({"v": 29}, {"v": 0}, {"r": 0}, {"s": 0}):
        with refusal("InvalidSignature"):
            request._replace(signature=request.signature | wrong).deliver(v1.coordinator)


def test_owners_must_be_able_to_name_their_signer(v1: V1) -> None:
    with refusal("Error", "no signer"):
        request_v1(v1, v1.deploy("SignerlessConsumer")).deliver(v1.coordinator)
    nobody = Contract(v1.anvil, "DelegatedConsumer", Account.create().address)
    with refusal(""):
        request_v1(v1, nobody).deliver(v1.coordinator)


def test_a_new_signer_takes_over(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    consumer.send("updateSigner", NODE.address)
    assert consumer.call("getSigner") == NODE.address
    with refusal("SignerMismatch"):
        request_v1(v1, consumer).deliver(v1.coordinator)
    request_v1(v1, consumer, signer=NODE).deliver(v1.coordinator)


# Consumers that refuse


def test_consumers_take_answers_of_the_coordinator_only(v1: V1) -> None:
    consumer = delegated_consumer(v1)
    with refusal("NotCoordinator"):
        consumer.send(
            "rawReceiveCompute", 1, 1, 1, NODE.address, b"", b"", b"", bytes(32), 0, sender=NODE
        )


def test_an_allowlist_names_the_nodes(v1: V1) -> None:
    consumer = v1.deploy("AllowlistConsumer", ALICE.address)
    request = request_v1(v1, consumer)
    with refusal("NodeNotAllowed"):
        request.deliver(v1.coordinator)
    consumer.send("allow", NODE.address, True)
    request.deliver(v1.coordinator)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (1, ("Error", "not today")),
        (2, ("OutOfStock", 7)),
        (3, ("Panic", 1)),
        (4, ("",)),
        (6, ("",)),
    ],
    ids=["text", "custom", "panic", "silent", "decode"],
)
def test_a_consumer_refuses_in_each_way(v1: V1, mode: int, reason: tuple[Any, ...]) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", mode)
    request = request_v1(v1, consumer)
    with refusal(*reason):
        request.deliver(v1.coordinator, output=bytes(32))
    assert not request.deliver(v1.coordinator, output=bytes(32), gas=1_000_000).succeeded
    consumer.send("setMode", 0)
    request.deliver(v1.coordinator, output=bytes(32))


def test_a_consumer_that_decodes_takes_what_decodes(v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 6)
    output = encode(["bytes", "bytes"], [b"raw", b"processed"])
    request_v1(v1, consumer).deliver(v1.coordinator, output=output)


def test_a_consumer_uses_up_all_gas(v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 5)
    receipt = request_v1(v1, consumer).deliver(v1.coordinator, gas=1_000_000)
    assert not receipt.succeeded
    assert receipt.gas_used > 900_000


def test_a_consumer_reverts_after_a_good_simulation(v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 7)
    request = request_v1(v1, consumer)
    arguments = request.delivery(output=b"out")
    assert v1.coordinator.call("deliverComputeDelegatee", *arguments, sender=NODE) == ()
    assert not request.deliver(v1.coordinator, output=b"out", gas=1_000_000).succeeded
    assert deliveries(consumer) == []


def test_a_revert_is_told_with_its_data(v1: V1) -> None:
    with pytest.raises(Reverted) as caught:
        deliver(v1, 5)
    assert caught.value.data.hex() == "1a00354f"
