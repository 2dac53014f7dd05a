"""What clients can read of the chain as it happens: its head, deliveries, subscriptions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from infernet_edge.chain.events import ChainEvents
from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.events.bus import Events
from infernet_edge.http_client.client import HttpClient
from infernet_edge.tasks import cancel
from tests.support.asking import subscribe
from tests.support.delegated import request_v1
from tests.support.event_stream import reading
from tests.support.evm import ALICE, V1
from tests.support.managing import eventually
from tests.support.onchain import on_chain, until_state
from tests.support.scripted_rpc import RpcFault, ScriptedRpc


async def test_deliveries_and_subscriptions(tmp_path: Path, v1: V1) -> None:
    delegated = v1.deploy("DelegatedConsumer", ALICE.address)
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        async with reading(node.session, f"{node.url}/api/events?types=chain") as opened:
            assert (await opened.next()).name == "hello"
            assert (await node.post("/api/jobs", request_v1(v1, delegated).body)).status == 200
            course = await opened.until("delivery.delivered", 30)
            states = [each for each in course if each.name.startswith("delivery.")]
            assert [each.name.partition(".")[2] for each in states] == [
                "accepted",
                "computing",
                "sending",
                "sent",
                "delivered",
            ]
            assert {each.json["id"] for each in states} == {states[0].json["id"]}
            assert states[-1].json["transaction"]
            heads = [each.json["number"] for each in course if each.name == "head.advanced"]
            assert heads == sorted(set(heads))
            assert heads
            identifier = subscribe(v1, consumer, frequency=1, period=600)
            await until_state(node, identifier, "active")
            v1.anvil.set_time(v1.subscription(identifier)["activeAt"])
            course = await opened.until("subscription.completed", 30)
            found = [each for each in course if each.name.startswith("subscription.")]
            assert [each.name for each in found] == ["subscription.found", "subscription.completed"]
            assert {each.json["id"] for each in found} == {identifier}
            delivered = [each for each in course if each.name == "delivery.delivered"]
            assert [each.json["subscription"] for each in delivered] == [identifier]
        client = {event.client for event in node.parts.events.topics["chain"].ring}
        assert client == {None, "127.0.0.1"}  # of the delegated request only its client


async def test_a_head_that_is_lost_or_stands_still() -> None:
    events, still = Events(), [""]
    events.add_reader("chain")
    chain_events = ChainEvents(events)
    chain_events.stillness = lambda: still[0]
    works, number = [True], [7]

    def latest(tag: str, full: bool) -> dict[str, Any]:
        if not works[0]:
            raise RpcFault({"code": -32000, "message": "no head"})
        return {
            "number": hex(number[0]),
            "timestamp": "0x64",
            "hash": f"0x{number[0]:064x}",
        }

    def names() -> list[str]:
        return [event.name for event in events.topics["chain"].ring]

    async with ScriptedRpc() as server, HttpClient() as http:
        server.results["eth_getBlockByNumber"] = latest
        rpc = RpcClient(http, [server.url])
        head = HeadTracker(rpc, 0.02)
        head.on_problem = chain_events.head_problem
        head.watch(chain_events)
        running = asyncio.create_task(head.run())
        try:
            await eventually(lambda: names() == ["head.advanced"])
            still[0] = "No new block for 10 min"
            await eventually(lambda: names()[1:] == ["head.stalled"])
            works[0] = False
            await eventually(lambda: names()[2:] == ["head.lost"])
            still[0], works[0], number[0] = "", True, 8
            await eventually(lambda: len(names()) == 5)
            assert set(names()[3:]) == {"head.advanced", "head.recovered"}
        finally:
            await cancel(running)
            await rpc.close()
