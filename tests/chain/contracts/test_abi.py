"""Calls of the contracts: as the real ones have them, and as an EVM understands them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from infernet_edge.chain.contracts import abi as contracts
from infernet_edge.chain.contracts.abi import Function, UnexpectedReply, eth_call
from infernet_edge.chain.contracts.delegation import parse_request, recover_signer
from infernet_edge.chain.contracts.payload import Payload
from infernet_edge.chain.contracts.reverts import ANSWERED, revert_reason
from infernet_edge.chain.contracts.subscription import ZERO_ADDRESS, Subscription
from tests.support.abi import Reverted, abi_type, artifact
from tests.support.delegated import request_v0, request_v1
from tests.support.evm import ALICE, NODE, V0, V1, Contract, deliveries
from tests.support.subscriptions import OWNER, TOKEN, subscription_v0, subscription_v1

PAYLOAD = Payload(b"in", b"out", b"proof")

# Selectors as the deployed contracts of SDK 1.x have them.
SELECTORS = {
    "COORDINATOR": "3b2bcbf1",
    "READER": "698eec44",
    "WALLET_FACTORY": "0e2009f4",
    "NEXT_ID": "af640d0f",
    "GET_SUBSCRIPTION": "a17b920b",
    "DELEGATE_CREATED_IDS": "60ed0f61",
    "NODE_RESPONDED": "298f7bdc",
    "DELIVER_COMPUTE": "c509543d",
    "DELIVER_COMPUTE_DELEGATEE": "9fff314a",
    "READ_SUBSCRIPTION_BATCH": "3ddc29f5",
    "READ_REDUNDANCY_COUNT_BATCH": "757f1c84",
    "GET_CONTAINER_INPUTS": "962fad75",
    "GET_SIGNER": "7ac3c02f",
    "WALLET_APPROVE": "e1f21c67",
    "WALLET_OWNER": "8da5cb5b",
    "IS_VALID_WALLET": "439a3012",
}

# Where each function is, in the compiled contracts of the tests.
HOMES = {
    "Registry": ["COORDINATOR", "READER", "WALLET_FACTORY"],
    "EIP712Coordinator": [
        "NEXT_ID",
        "DELEGATE_CREATED_IDS",
        "NODE_RESPONDED",
        "GET_SUBSCRIPTION",
        "DELIVER_COMPUTE",
        "DELIVER_COMPUTE_DELEGATEE",
        "PROOF_REQUESTS",
    ],
    "CoordinatorV0": [
        "NEXT_ID",
        "DELEGATE_CREATED_IDS",
        "NODE_RESPONDED",
        "SUBSCRIPTIONS_V0",
        "DELIVER_COMPUTE_V0",
        "DELIVER_COMPUTE_DELEGATEE_V0",
        "REGISTER_NODE",
        "ACTIVATE_NODE",
        "NODE_INFO",
        "COOLDOWN",
    ],
    "Reader": ["READ_SUBSCRIPTION_BATCH", "READ_REDUNDANCY_COUNT_BATCH"],
    "SubscriptionConsumer": ["GET_CONTAINER_INPUTS"],
    "DelegatedConsumer": ["GET_SIGNER"],
    "ConsumerV0": ["SIGNER_V0"],
    "WalletFactory": ["CREATE_WALLET", "IS_VALID_WALLET"],
    "Wallet": ["WALLET_OWNER", "WALLET_APPROVE", "WALLET_ALLOWANCE", "WALLET_WITHDRAW"],
    "Token": ["TOKEN_BALANCE"],
    "LazyVerifier": ["VERIFIER_SUPPORTS"],
}
PLACES = [(contract, name) for contract, names in HOMES.items() for name in names]


@pytest.mark.parametrize(("name", "selector"), SELECTORS.items())
def test_selectors(name: str, selector: str) -> None:
    assert getattr(contracts, name).selector.hex() == selector


def test_allowances_of_wallets_and_tokens_are_the_same_function() -> None:
    assert contracts.WALLET_ALLOWANCE.selector.hex() == "dd62ed3e"


def test_no_function_is_forgotten_here() -> None:
    functions = {name for name, value in vars(contracts).items() if isinstance(value, Function)}
    assert functions == {name for _, name in PLACES}


@pytest.mark.parametrize(("contract", "name"), PLACES)
def test_types_are_those_of_the_contract(contract: str, name: str) -> None:
    function: Function = getattr(contracts, name)
    entries = [
        ([abi_type(part) for part in entry["inputs"]], [abi_type(p) for p in entry["outputs"]])
        for entry in artifact(contract)["abi"]
        if entry["type"] == "function" and entry["name"] == function.name
    ]
    assert (list(function.takes), list(function.returns)) in entries


def test_calls_as_json_rpc() -> None:
    data = contracts.NODE_INFO.encode(OWNER)
    question = {"to": TOKEN, "data": "0x" + data.hex()}
    assert eth_call(TOKEN, data) == ("eth_call", [question, "latest"])
    full = eth_call(TOKEN, data, sender=OWNER, block="pending", gas=16, gas_price=255)
    more = {"from": OWNER, "gas": "0x10", "gasPrice": "0xff"}
    assert full == ("eth_call", [question | more, "pending"])


STATIC = [contracts.IS_VALID_WALLET, contracts.GET_SUBSCRIPTION, contracts.GET_SIGNER]
DYNAMIC = [
    contracts.SUBSCRIPTIONS_V0,
    contracts.READ_SUBSCRIPTION_BATCH,
    contracts.READ_REDUNDANCY_COUNT_BATCH,
    contracts.GET_CONTAINER_INPUTS,
]
ENDLESS = bytes(31) + b"\x20" + b"\xff" * 32  # at byte 32, 2^256 - 1 elements


@pytest.mark.parametrize(
    ("function", "reply"),
    [
        *((function, b"") for function in (*STATIC, *DYNAMIC)),
        *((function, bytes(31)) for function in (*STATIC, *DYNAMIC)),
        *((function, b"\xff" * 32) for function in (*STATIC, *DYNAMIC)),
        *((function, ENDLESS) for function in DYNAMIC),
    ],
)
def test_replies_of_another_form(function: Function, reply: bytes) -> None:
    with pytest.raises(UnexpectedReply, match="Is it the right contract") as caught:
        function.decode(reply)
    assert function.signature in str(caught.value)


def test_text_in_a_reply_that_is_no_utf8() -> None:
    good = encode(contracts.SUBSCRIPTIONS_V0.returns, subscription_v0("echo").to_abi())
    with pytest.raises(UnexpectedReply):
        contracts.SUBSCRIPTIONS_V0.decode(good.replace(b"echo", b"\xff\xff\xff\xff"))


@pytest.mark.parametrize("subscription", [subscription_v1("a,b"), subscription_v0("a,b")])
def test_subscriptions_there_and_back(subscription: Subscription) -> None:
    generation = subscription.generation
    name = {"1.x": "GET_SUBSCRIPTION", "0.1": "SUBSCRIPTIONS_V0"}[generation]
    values = subscription.to_abi()
    reply = encode(
        getattr(contracts, name).returns, [values] if generation == "1.x" else list(values)
    )
    assert contracts.decode_subscription(generation, reply) == subscription


def test_batches_of_subscriptions() -> None:
    batch = [subscription_v1("a", payment_amount=2**256 - 1), subscription_v1("b,c")]
    values = [subscription.to_abi() for subscription in batch]
    reply = encode(contracts.READ_SUBSCRIPTION_BATCH.returns, [values])
    assert contracts.decode_subscriptions(reply) == batch
    assert contracts.decode_subscriptions(encode(["uint256", "uint256"], [32, 0])) == []


# On an EVM


def ask(deployment: V1 | V0, contract: Contract, data: bytes) -> bytes:
    """The reply of a contract of the deployment."""
    _, (question, block) = eth_call(contract.address, data)
    return deployment.anvil.ask(question, block)


REDUNDANCY_COUNT = Function("redundancyCount", ["bytes32"], ["uint16"])
NODE_RESPONDED = Function("nodeResponded", ["bytes32"], ["bool"])
CREATED = "0x" + keccak(text="SubscriptionCreated(uint32)").hex()
FULFILLED = "0x" + keccak(text="SubscriptionFulfilled(uint32,address)").hex()


def facts(deployment: V1 | V0, owner: str, nonce: int) -> tuple[Any, ...]:
    """What a coordinator knows of an owner's first delegated subscription."""
    questions = (
        (contracts.NEXT_ID, ()),
        (contracts.DELEGATE_CREATED_IDS, (contracts.delegation_key(owner, nonce),)),
        (REDUNDANCY_COUNT, (keccak(encode(["uint32", "uint32"], [1, 1])),)),
        (NODE_RESPONDED, (contracts.response_key(1, 1, NODE.address),)),
    )
    return tuple(
        function.decode(ask(deployment, deployment.coordinator, function.encode(*arguments)))
        for function, arguments in questions
    )


def test_delegated_and_on_chain_deliveries_of_sdk_1(v1: V1) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    signed = request_v1(v1, consumer, nonce=5, containers="a,b", period=60, frequency=2)
    request = parse_request(json.dumps(signed.body).encode())
    assert facts(v1, consumer.address, 5) == (1, 0, 0, False)
    signer = contracts.signer_function("1.x")
    named = signer.decode(ask(v1, consumer, signer.encode()))
    assert named == ALICE.address
    assert recover_signer(request, v1.anvil.chain_id, v1.coordinator.address) == named

    data = contracts.deliver_compute_delegatee(request, 1, PAYLOAD, ZERO_ADDRESS)
    v1.anvil.wait_for_receipt(v1.anvil.send_raw(NODE, v1.coordinator.address, data))
    assert facts(v1, consumer.address, 5) == (2, 1, 1, True)
    reply = ask(v1, v1.coordinator, contracts.get_subscription("1.x", 1))
    assert contracts.decode_subscription("1.x", reply) == request.subscription
    unknown = ask(v1, v1.coordinator, contracts.get_subscription("1.x", 9))
    assert not contracts.decode_subscription("1.x", unknown).exists

    with pytest.raises(Reverted) as caught:
        v1.anvil.send_raw(NODE, v1.coordinator.address, data)
    assert revert_reason(caught.value.data).name in ANSWERED
    v1.anvil.increase_time(60)
    data = contracts.deliver_compute("1.x", 1, 2, PAYLOAD, ZERO_ADDRESS)
    v1.anvil.wait_for_receipt(v1.anvil.send_raw(NODE, v1.coordinator.address, data))
    got = [(each["interval"], each["input"], each["output"]) for each in deliveries(consumer)]
    assert got == [(1, b"in", b"out"), (2, b"in", b"out")]

    batch = ask(v1, v1.reader, contracts.READ_SUBSCRIPTION_BATCH.encode(1, 3))
    first, second = contracts.decode_subscriptions(batch)
    assert (first, second.exists) == (request.subscription, False)
    function = contracts.READ_REDUNDANCY_COUNT_BATCH
    counts = ask(v1, v1.reader, function.encode([1, 1, 1], [1, 2, 3]))
    assert function.decode(counts) == (1, 1, 0)

    logs = v1.anvil.rpc("eth_getLogs", {"fromBlock": "0x0", "address": v1.coordinator.address})
    assert [log["topics"][0] for log in logs] == [CREATED, FULFILLED, FULFILLED]


def test_delegated_and_on_chain_deliveries_of_sdk_0_1(v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    signed = request_v0(
        v0, consumer, nonce=5, containers="a,b", period=60, frequency=2, inputs=b"\xff"
    )
    request = parse_request(json.dumps(signed.body).encode())
    assert facts(v0, consumer.address, 5) == (1, 0, 0, False)
    signer = contracts.signer_function("0.1")
    named = signer.decode(ask(v0, consumer, signer.encode()))
    assert named == ALICE.address
    assert recover_signer(request, v0.anvil.chain_id, v0.coordinator.address) == named

    data = contracts.deliver_compute_delegatee(request, 1, PAYLOAD, ZERO_ADDRESS)
    v0.anvil.wait_for_receipt(v0.anvil.send_raw(NODE, v0.coordinator.address, data))
    assert facts(v0, consumer.address, 5) == (2, 1, 1, True)
    reply = ask(v0, v0.coordinator, contracts.get_subscription("0.1", 1))
    assert contracts.decode_subscription("0.1", reply) == request.subscription

    v0.anvil.increase_time(60)
    data = contracts.deliver_compute("0.1", 1, 2, PAYLOAD, ZERO_ADDRESS)
    v0.anvil.wait_for_receipt(v0.anvil.send_raw(NODE, v0.coordinator.address, data))
    assert [each["interval"] for each in deliveries(consumer)] == [1, 2]


def test_the_event_of_a_new_wallet(v1: V1) -> None:
    data = contracts.CREATE_WALLET.encode(ALICE.address)
    sent = v1.anvil.send_raw(ALICE, v1.wallet_factory.address, data)
    receipt = v1.anvil.wait_for_receipt(sent)
    assert contracts.WALLET_CREATED in [log["topics"][0] for log in receipt.logs]
