"""What the contracts' answers to simulations and questions mean for a delivery."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from infernet_edge.chain.contracts.payload import Payload
from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.delivery.coordinator import ComputeTask, Coordinator
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.errors import NothingToDo, PermanentFailure, TransientFailure
from infernet_edge.chain.delivery.record import Delivery, OpenDelivery, open_delivery
from infernet_edge.chain.guard.signer import SignerCheck
from infernet_edge.chain.rpc import endpoint
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.config.sections.chain import Chain, Wallet
from infernet_edge.http_client.client import HttpClient
from infernet_edge.storage.database import Database
from tests.support.evm import ALICE, NODE
from tests.support.scripted_rpc import RpcFault, ScriptedRpc
from tests.support.signed import COORDINATOR, signed_v0
from tests.support.subscriptions import OWNER

NOW = 100_000  # chain seconds
GET_SIGNER = "0x" + keccak(text="signer()")[:4].hex()


@dataclass
class Contracts:
    """A coordinator in front of a server that answers as the test says."""

    server: ScriptedRpc
    head: HeadTracker
    coordinator: Coordinator

    def answer(self, method: str, answer: Any) -> None:
        """What the server says to a method: a result, or a dict: an error."""

        def reply(call: dict[str, str], *more: Any) -> Any:
            if call.get("data") == GET_SIGNER:
                return "0x" + encode(["address"], [ALICE.address]).hex()
            if isinstance(answer, dict):
                raise RpcFault(answer)
            return answer(call) if callable(answer) else answer

        self.server.results[method] = reply


@pytest.fixture
async def contracts(tmp_path: Path) -> AsyncIterator[Contracts]:
    wallet = Wallet(max_gas_limit=3_000_000, allowed_sim_errors=["not today"])
    config = Chain(coordinator_address=COORDINATOR, wallet=wallet)
    async with ScriptedRpc() as server, HttpClient() as http:
        block = {"number": "0x5", "timestamp": hex(NOW), "hash": "0x01", "baseFeePerGas": "0x7"}
        server.results["eth_getBlockByNumber"] = block
        rpc = RpcClient(http, [server.url], timeout=2.0)
        head = HeadTracker(rpc, 1.0)
        await head.poll()
        deployment = Deployment(config, rpc)
        verifier = SignerCheck(rpc, deployment)
        data = DelegatedData(Database(tmp_path / "node.sqlite", {}))
        coordinator = Coordinator(config, rpc, head, deployment, verifier, data, NODE.address, 1000)
        yield Contracts(server, head, coordinator)
        await rpc.close()


def text_of(task: ComputeTask) -> bytes:
    assert isinstance(task.data, bytes)
    return task.data


ANSWER = Payload(b"", b"output", b"")


def delivery(interval: int = 1, identifier: int | None = None, **fields: Any) -> OpenDelivery:
    stored = Delivery(
        number=1,
        generation="0.1",
        anchor=COORDINATOR.lower(),
        owner=OWNER,
        nonce=1,
        subscription_id=identifier,
        interval=interval,
        containers=("echo",),
        state="accepted",
        request=signed_v0(**fields),
    )
    return open_delivery(stored)


def error(text: str) -> dict[str, Any]:
    """A revert with a text of the contract's own."""
    data = keccak(text="Error(string)")[:4] + encode(["string"], [text])
    return {"code": 3, "message": "execution reverted", "data": "0x" + data.hex()}


def custom(signature: str) -> dict[str, Any]:
    """A revert with an error of the protocol."""
    data = keccak(text=signature)[:4].hex()
    return {"code": 3, "message": "execution reverted", "data": "0x" + data}


SERVER_PROBLEM = {"code": -32603, "message": "Internal error"}
TOO_SLOW = {"code": -32000, "message": "execution aborted (timeout = 5s)"}
EVM_PROBLEM = {"code": -32000, "message": "invalid opcode: INVALID"}


# Before it is computed


async def test_what_simulates_well_is_admitted(contracts: Contracts) -> None:
    contracts.answer("eth_call", "0x")
    admitted = delivery()
    await contracts.coordinator.admit(admitted)
    assert admitted.verified


@pytest.mark.parametrize("answer", [error("no input"), {"code": 3, "message": "reverted"}])
async def test_a_consumer_that_dislikes_an_empty_output_says_nothing(
    contracts: Contracts, answer: dict[str, Any]
) -> None:
    contracts.answer("eth_call", answer)
    await contracts.coordinator.admit(delivery())


@pytest.mark.parametrize(
    ("answer", "meaning", "reason"),
    [
        (custom("IntervalCompleted()"), NothingToDo, "IntervalCompleted"),
        (custom("NodeRespondedAlready()"), NothingToDo, "NodeRespondedAlready"),
        (custom("NodeNotAllowed()"), PermanentFailure, "NodeNotAllowed"),
        (custom("SignatureExpired()"), PermanentFailure, "SignatureExpired"),
        (custom("SubscriptionNotFound()"), PermanentFailure, "SubscriptionNotFound"),
        (SERVER_PROBLEM, RpcUnavailable, "problem"),
        (EVM_PROBLEM, TransientFailure, "invalid opcode"),
        (TOO_SLOW, TransientFailure, "aborted"),
    ],
)
async def test_what_the_protocol_says_before_the_computing(
    contracts: Contracts, answer: dict[str, Any], meaning: type[Exception], reason: str
) -> None:
    contracts.answer("eth_call", answer)
    with pytest.raises(meaning, match=reason):
        await contracts.coordinator.admit(delivery())


async def test_a_later_interval_that_is_over_is_not_computed(contracts: Contracts) -> None:
    contracts.answer("eth_call", "0x")
    late = delivery(2, 7, activeAt=NOW - 1000, period=100, frequency=20)
    with pytest.raises(PermanentFailure, match="over"):
        await contracts.coordinator.admit(late)


async def test_the_first_answer_is_to_the_present_interval(contracts: Contracts) -> None:
    contracts.answer("eth_call", "0x")
    first = delivery(1, activeAt=NOW - 1050, period=100, frequency=20)
    await contracts.coordinator.admit(first)
    assert first.interval == 11


async def test_an_interval_that_passes_while_the_signer_is_asked_for(contracts: Contracts) -> None:
    """Servers may take long, and be away."""
    head = contracts.head
    first = delivery(1, activeAt=NOW - 50, period=100, frequency=20)

    def reply(call: dict[str, str], *more: Any) -> Any:
        if call.get("data") == GET_SIGNER:
            assert head.latest is not None
            head.latest = head.latest._replace(timestamp=NOW + 300)
            return "0x" + encode(["address"], [ALICE.address]).hex()
        return "0x"

    contracts.server.results["eth_call"] = reply
    await contracts.coordinator.admit(first)
    assert first.interval == 4


# The inputs of later intervals


async def test_the_owner_gives_the_inputs_of_later_intervals(contracts: Contracts) -> None:
    contracts.answer("eth_call", "0x" + encode(["bytes"], [b"\x01\xff"]).hex())
    task = await contracts.coordinator.task(delivery(2, 7))
    assert msgspec.json.decode(text_of(task)) == "01ff"


OUT_OF_GAS = {"code": -32000, "message": "out of gas"}


@pytest.mark.parametrize("answer", [error("none"), "0x", "0x01", OUT_OF_GAS])
async def test_an_owner_without_inputs(contracts: Contracts, answer: Any) -> None:
    contracts.answer("eth_call", answer)
    task = await contracts.coordinator.task(delivery(2, 7))
    assert msgspec.json.decode(text_of(task)) == ""


@pytest.mark.parametrize("answer", [SERVER_PROBLEM, None])
async def test_inputs_that_the_server_does_not_give_are_not_taken_for_none(
    contracts: Contracts, answer: Any
) -> None:
    contracts.answer("eth_call", answer)
    with pytest.raises(RpcUnavailable):
        await contracts.coordinator.task(delivery(2, 7))


@pytest.mark.parametrize(("size", "fits"), [(499, True), (500, False)])
@pytest.mark.parametrize("asked", [True, False])
async def test_inputs_have_a_bound(
    contracts: Contracts, size: int, fits: bool, asked: bool
) -> None:
    contracts.answer("eth_call", "0x" + encode(["bytes"], [bytes(size)]).hex())
    task = contracts.coordinator.task(delivery(2, 7, inputs=b"" if asked else bytes(size)))
    if fits:
        assert len((await task).data) == 1000
    else:
        with pytest.raises(PermanentFailure, match=r"1002 bytes as JSON, .* allows 1000"):
            await task


async def test_inputs_that_no_reply_holds(
    contracts: Contracts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_MAX_REPLY_BYTES", 2**16)
    contracts.answer("eth_call", "0x" + encode(["bytes"], [bytes(2**16)]).hex())
    with pytest.raises(PermanentFailure, match="a reply of more than 65536 bytes"):
        await contracts.coordinator.task(delivery(2, 7))
    contracts.answer("eth_estimateGas", "0x5")
    await contracts.coordinator.prepare(delivery(), ANSWER)  # the server is not left alone for it


async def test_inputs_that_take_the_server_too_long_are_asked_for_some_times(
    contracts: Contracts,
) -> None:
    contracts.answer("eth_call", TOO_SLOW)
    with pytest.raises(TransientFailure, match="aborted"):
        await contracts.coordinator.task(delivery(2, 7))


# Before it is sent


@pytest.mark.parametrize(
    ("estimate", "limit"), [(100_000, 120_000), (900_000, 1_000_000), (1_000_000, 1_000_000)]
)
async def test_the_gas_of_a_delivery(contracts: Contracts, estimate: int, limit: int) -> None:
    """With a margin, within the limit of the request."""
    contracts.answer("eth_estimateGas", hex(estimate))
    order = await contracts.coordinator.prepare(delivery(), ANSWER)
    assert (order.to, order.gas, order.max_gas_price) == (COORDINATOR, limit, 10**9)


async def test_the_limit_of_the_node_counts_too(contracts: Contracts) -> None:
    contracts.answer("eth_estimateGas", hex(3_000_001))
    with pytest.raises(PermanentFailure, match="3000001 gas, the limit is 3000000"):
        await contracts.coordinator.prepare(delivery(maxGasLimit=4_000_000), ANSWER)


async def test_an_error_that_is_allowed(contracts: Contracts) -> None:
    contracts.answer("eth_estimateGas", error("Sorry, Not Today."))
    order = await contracts.coordinator.prepare(delivery(), ANSWER)
    assert order.gas == 1_000_000


@pytest.mark.parametrize(
    ("answer", "meaning", "reason"),
    [
        (error("sold out"), TransientFailure, "sold out"),
        (custom("IntervalCompleted()"), NothingToDo, "IntervalCompleted"),
        (custom("GasLimitExceeded()"), PermanentFailure, "GasLimitExceeded"),
        (EVM_PROBLEM, TransientFailure, "invalid opcode"),
        (TOO_SLOW, TransientFailure, "aborted"),
        (SERVER_PROBLEM, RpcUnavailable, "Internal error"),
        (None, RpcUnavailable, "no gas"),
        ("many", RpcUnavailable, "no gas"),
    ],
)
async def test_what_the_last_simulation_means(
    contracts: Contracts, answer: Any, meaning: type[Exception], reason: str
) -> None:
    contracts.answer("eth_estimateGas", answer)
    with pytest.raises(meaning, match=reason):
        await contracts.coordinator.prepare(delivery(), ANSWER)


# Intervals


@pytest.mark.parametrize(
    ("interval", "present", "following"),
    [(1, 1, 2), (1, 4, 4), (4, 4, 5), (5, 5, None), (1, 6, None)],
)
async def test_the_next_interval(
    contracts: Contracts, interval: int, present: int, following: int | None
) -> None:
    """Those that passed meanwhile are left out."""
    active_at = NOW - (present - 1) * 1000 - 1
    answered = delivery(interval, activeAt=active_at, period=1000, frequency=5)
    assert contracts.coordinator.next_interval(answered) == following


async def test_a_single_answer_has_no_next_interval(contracts: Contracts) -> None:
    assert contracts.coordinator.next_interval(delivery()) is None


async def test_the_id_of_a_subscription(contracts: Contracts) -> None:
    ask: Callable[[OpenDelivery], Any] = contracts.coordinator.subscription_id
    assert await ask(delivery(identifier=9)) == 9
    contracts.answer("eth_call", "0x" + encode(["uint32"], [7]).hex())
    assert await ask(delivery()) == 7
    contracts.answer("eth_call", "0x" + encode(["uint32"], [0]).hex())
    assert await ask(delivery()) is None
    contracts.answer("eth_call", SERVER_PROBLEM)
    with pytest.raises(RpcUnavailable):
        await ask(delivery())


async def test_time_is_that_of_the_chain(contracts: Contracts) -> None:
    begins = NOW + 500
    assert contracts.coordinator.due_time(delivery(activeAt=begins)) == begins
    assert abs(NOW - time.time()) > 3600  # which is not read
