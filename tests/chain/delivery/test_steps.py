"""How deliveries wait for their transactions."""

from __future__ import annotations

from pathlib import Path

from tests.support.asking import call_back, received
from tests.support.events import Events
from tests.support.evm import NODE, V1, deliveries
from tests.support.onchain import chain_of, delivery, on_chain, settled, until, waiting
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy


async def test_a_delegated_account_delivers_one_after_the_other(
    tmp_path: Path, v1: V1, events: Events
) -> None:
    """EIP-7702: the server refuses a second transaction while one waits."""
    consumer = v1.deploy("CallbackConsumer")
    v1.anvil.set_automine(False)
    async with (
        RpcProxy(v1.anvil.url, Behaviour(max_in_flight=1)) as proxy,
        on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _),
    ):
        await chain_of(node).head.seen.wait()
        with v1.anvil.blocks_every(0.3):
            for _ in range(6):
                call_back(v1, consumer)
            await received(consumer, 6)
            for number in range(1, 7):
                assert (await settled(node, number))["state"] == "delivered"
    assert v1.anvil.nonce(NODE.address) == 6
    assert proxy.counts["eth_sendRawTransaction"] <= 2 * 6, "each is refused once at most"
    assert events.of("transaction.refused") == [], "none is kept that no server has"


async def test_what_waits_for_the_budget_says_so(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1, chain={"max_fee_wei_per_day": 1000}) as (node, _):
        call_back(v1, consumer)
        await waiting(node, "chain.max_fee_wei_per_day allows")
        assert (await delivery(node))["state"] == "sending"
        await until(lambda: "chain.max_fee_wei_per_day" in chain_of(node).problem)
    assert deliveries(consumer) == []
    async with on_chain(tmp_path, v1=v1, chain={"max_fee_wei_per_day": 10**18}) as (node, _):
        assert (await settled(node))["state"] == "delivered"
        assert "max_fee_wei_per_day" not in chain_of(node).problem
