"""How deliveries wait for their transactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.asking import call_back, received
from tests.support.events import Events
from tests.support.evm import NODE, V1, deliveries
from tests.support.onchain import chain_of, delivery, on_chain, settled, until, waiting
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.running import RunningNode


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


SCHEMA = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}


async def test_an_input_that_does_not_fit_its_schema(
    tmp_path: Path, v1: V1, events: Events
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    settings = {"protocol": "http", "input_schema": SCHEMA}
    async with on_chain(tmp_path, v1=v1, container=settings) as (node, echo):
        await chain_of(node).head.seen.wait()
        call_back(v1, consumer, input=b'{"prompt": 5}')
        found = await settled(node)
        assert (found["state"], found["reason"]) == (
            "skipped",
            "The input does not fit the container's input_schema, input.prompt: expected text,"
            " found 5",
        )
        assert [each["number"] for each in (await skipped(node))] == [1]
        assert echo.calls == [], "it is not computed"
    assert v1.anvil.nonce(NODE.address) == 0, "nothing is paid"
    assert deliveries(consumer) == []


async def skipped(node: RunningNode) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await chain_of(node).report(9, skipped=True))["deliveries"]
    return found


async def test_inputs_that_fit_their_schema(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    settings = {"input_schema": {"type": ["object", "string"], "required": ["prompt"]}}
    async with on_chain(tmp_path, v1=v1, container=settings) as (node, _):
        await chain_of(node).head.seen.wait()
        for number, input in enumerate((b'{"prompt": "a"}', b"\x01\x02"), 1):
            call_back(v1, consumer, input=input)
            assert (await settled(node, number))["state"] == "delivered"
    assert len(deliveries(consumer)) == 2
