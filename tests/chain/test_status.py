"""The state of the chain, as it is reported to the operator."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.chain import status
from tests.support.asking import call_back, subscribe
from tests.support.evm import ETHER, NODE, OTHER_NODE, V0, V1
from tests.support.faulty_rpc import FaultyRpc, down
from tests.support.onchain import chain_of, on_chain, polls, until, until_state
from tests.support.ports import free_port
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.running import RunningNode
from tests.support.serving import Echo, serving


async def report(node: RunningNode) -> dict[str, Any]:
    found = await chain_of(node).status()
    assert found is not None
    return found


async def until_report(node: RunningNode, condition: Any, timeout: float = 20) -> dict[str, Any]:
    """Wait until a condition holds for the report."""
    async with asyncio.timeout(timeout):
        while not condition(found := await report(node)):
            await asyncio.sleep(0.05)
    return found


async def test_a_chain_that_works(tmp_path: Path, v1: V1) -> None:
    recurring = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, recurring, frequency=2, period=9000)
        await until_state(node, identifier, "active")
        found = await until_report(node, lambda found: found["next_due"])
        due = found["next_due"]
        assert 8900 < due.pop("in") <= 9000
        assert due == {"subscription": identifier, "interval": 1}
        assert found["problems"] == []
        assert (found["chain_id"], found["address"]) == (31337, NODE.address)
        assert found["balance"] == v1.anvil.balance(NODE.address)
        assert found["head"] == v1.anvil.block().number
        assert found["head_at"] == v1.anvil.now() * 1000
        assert 0 <= found["head_age"] < 10
        assert found["registry"] == v1.registry.address
        assert found["coordinators"] == {"1.x": v1.coordinator.address}
        assert (found["next_id"], found["next_read"], found["followed"]) == (2, 2, 1)
        assert found["waits_for"] == "a subscription with the id 2, and delegated requests"
        (server,) = found["rpc"]
        assert server["host"] == v1.anvil.url.removeprefix("http://")
        assert (server["ok"], server["in_use"], server["refused"]) == (True, True, 0)
        assert server["requests"] > 3


async def test_what_is_in_work_is_waited_for(tmp_path: Path, v1: V1) -> None:
    consumer, echo = v1.deploy("CallbackConsumer"), Echo()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        v1.anvil.set_balance(NODE.address, 1000)
        call_back(v1, consumer)
        found = await until_report(node, lambda found: found["pending"])
        assert found["waits_for"].startswith("the end of a delivery, see: infernet-edge jobs")
        v1.anvil.set_balance(NODE.address, ETHER)
        await until_state(node, 1, "completed")


async def test_reports_cost_few_calls(tmp_path: Path, v1: V1) -> None:
    """Such as those of a page that is open for hours."""
    proxy = FaultyRpc(v1.anvil.url)
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await polls(node)
        before = proxy.methods.count("eth_getBalance")
        for _ in range(20):
            await report(node)
        assert proxy.methods.count("eth_getBalance") <= before + 1


async def test_a_server_that_is_lost_keeps_the_last_values(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "REFRESH_SECONDS", 0.0)
    proxy = FaultyRpc(v1.anvil.url)
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        before = await until_report(node, lambda found: found["head"] is not None)
        proxy.fault = down
        found = await until_report(node, lambda found: found["problems"])
        reason = f"No JSON-RPC server of chain.rpc_url answers: {url.removeprefix('http://')}"
        assert found["problems"][0].startswith(reason)
        assert found["waits_for"] == "a JSON-RPC server that answers"
        assert (found["balance"], found["head"]) == (before["balance"], before["head"])
        assert found["balance_age"] >= before["balance_age"]
        assert not found["rpc"][0]["ok"]
        proxy.heal()
        await until_report(node, lambda found: not found["problems"])


async def test_the_first_of_two_servers_is_lost(tmp_path: Path, v1: V1) -> None:
    """The other one is used, so deliveries are not prevented."""
    lost = f"http://user:password@127.0.0.1:{free_port()}/key"
    settings = {"rpc_url": [lost, v1.anvil.url]}
    async with on_chain(tmp_path, v1=v1, chain=settings) as (node, _):
        await until(lambda: chain_of(node).head.latest)
        found = await report(node)
        assert found["problems"] == []
        assert [each["in_use"] for each in found["rpc"]] == [False, True]
        assert [each["ok"] for each in found["rpc"]] == [False, True]
        assert "no connection" in found["rpc"][0]["reason"]
        assert all(secret not in str(found) for secret in ("password", "key", "user"))


async def test_a_head_that_stands_still(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_STILL_UNKNOWN", 1.5)
    async with RpcProxy(v1.anvil.url) as proxy:
        frozen = v1.anvil.block().number
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _):
            await until(lambda: chain_of(node).head.latest)
            proxy.behaviour = Behaviour(frozen_at=frozen)
            found = await until_report(node, lambda found: found["problems"])
            (problem,) = found["problems"]
            assert problem.startswith("No new block for ")
            host = proxy.url.removeprefix("http://")
            assert f"the newest of chain 31337 at {host} is {frozen}" in problem
            proxy.behaviour = Behaviour()
            v1.anvil.mine()
            await until_report(node, lambda found: not found["problems"])


async def test_a_head_that_was_old_from_the_beginning(tmp_path: Path, v1: V1) -> None:
    """Then no time without a block was measured, but the block's own time says it."""
    async with RpcProxy(v1.anvil.url) as proxy:
        v1.anvil.rpc("evm_setTime", v1.anvil.now() - 7300)
        v1.anvil.mine()
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _):
            found = await until_report(node, lambda found: found["problems"])
            assert found["problems"][0].startswith("No new block for 2 h: ")


async def test_a_server_without_a_newest_block(tmp_path: Path, v1: V1) -> None:
    async with RpcProxy(v1.anvil.url) as proxy:
        proxy.behaviour = Behaviour(latest_is_null=True)
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _):
            found = await until_report(node, lambda found: found["problems"])
            assert (found["head"], found["waits_for"]) in (
                (None, "the first block"),
                (None, "a JSON-RPC server that answers"),
            )


async def test_a_server_that_does_not_offer_what_is_needed(tmp_path: Path, v1: V1) -> None:
    """It is the only one, so it stays in use."""
    consumer = v1.deploy("CallbackConsumer")
    async with RpcProxy(v1.anvil.url) as proxy:
        proxy.behaviour = Behaviour(refused_methods=frozenset({"eth_estimateGas"}))
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _):
            call_back(v1, consumer)
            found = await until_report(node, lambda found: found["problems"])
            (problem,) = found["problems"]
            host = proxy.url.removeprefix("http://")
            assert problem.startswith(f"The JSON-RPC server {host}: it does not offer eth_estimate")


async def test_a_coordinator_that_vanishes(tmp_path: Path, v1: V1) -> None:
    """As when a test chain is started again."""
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_report(node, lambda found: found["next_id"])
        v1.anvil.rpc("anvil_setCode", v1.coordinator.address, "0x")
        v1.anvil.mine()
        found = await until_report(node, lambda found: found["problems"])
        expected = f"The coordinator {v1.coordinator.address} does not answer id(): "
        assert found["problems"][0].startswith(expected)
        server = v1.anvil.url.removeprefix("http://")
        assert found["problems"][0].endswith(f"(answered by {server})")
        assert found["next_id"] is None
        assert found["waits_for"] == "answers of the contracts"


@pytest.mark.parametrize(
    ("balance", "problem"), [(1000, "suffices for fewer than 10 deliveries"), (0, "has no coins")]
)
async def test_too_few_coins(tmp_path: Path, v1: V1, balance: int, problem: str) -> None:
    v1.anvil.set_balance(NODE.address, balance)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        found = await until_report(node, lambda found: found["problems"])
        (said,) = found["problems"]
        assert said.startswith(f"The account {NODE.address} ")
        assert problem in said


async def test_a_key_that_is_no_node(tmp_path: Path, v0: V0) -> None:
    v0.coordinator.send("registerNode", NODE.address, sender=NODE)
    async with on_chain(tmp_path, v0=v0) as (node, _):
        found = await until_report(node, lambda found: found["problems"])
        (problem,) = found["problems"]
        assert problem.startswith(f"The account {NODE.address} is not an active node of the")
        assert f"{v0.coordinator.address} of SDK 0.1" in problem
        assert "can be activated in 60 minutes" in problem
        assert (found["next_id"], found["followed"]) == (None, 0)
        assert found["waits_for"] == "delegated requests"


async def test_an_active_node(tmp_path: Path, v0: V0) -> None:
    v0.activate(NODE)
    async with on_chain(tmp_path, v0=v0) as (node, _):
        found = await until_report(node, lambda found: found["registration"])
        assert (found["problems"], found["registration"]) == ([], "active")


@pytest.mark.parametrize("own", [True, False])
async def test_the_wallet_that_is_paid(tmp_path: Path, v1: V1, own: bool) -> None:
    wallet = v1.wallet(NODE).address if own else OTHER_NODE.address
    settings = {"wallet": {"payment_address": wallet}}
    async with on_chain(tmp_path, v1=v1, chain=settings) as (node, _):
        found = await until_report(node, lambda found: found["next_id"])
        assert found["payment_wallet"] == wallet
        if own:
            assert found["problems"] == []
            return
        (problem,) = found["problems"]
        assert problem.startswith(f"chain.wallet.payment_address {wallet} was not made by the")
        assert v1.wallet_factory.address in problem


@pytest.mark.parametrize(
    ("container", "problem"),
    [({"external": False}, "external = false is set for all containers (echo)"), ({}, "")],
)
async def test_containers_that_serve_no_subscription(
    tmp_path: Path, v1: V1, container: dict[str, Any], problem: str
) -> None:
    async with on_chain(tmp_path, v1=v1, container=container) as (node, _):
        found = await until_report(node, lambda found: found["next_id"])
        assert problem in "".join(found["problems"])
        assert bool(found["problems"]) == bool(problem)
