"""When contracts' subscriptions are answered: on the chain's time, once, and no more than asked."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from eth_abi.abi import decode, encode

from infernet_edge.chain.contracts.abi import DELIVER_COMPUTE
from infernet_edge.chain.contracts.reader import SubscriptionReader
from infernet_edge.chain.delivery import processor
from infernet_edge.chain.rpc import retry
from infernet_edge.chain.rpc.client import RpcUnavailable
from infernet_edge.chain.subscriptions import scheduler as schedule
from tests.support.asking import call_back, received, subscribe, subscribe_many
from tests.support.counting_proxy import CountingProxy
from tests.support.delegated import container_hash
from tests.support.events import listen
from tests.support.evm import (
    ALICE,
    COIN,
    NOBODY,
    NODE,
    OTHER_NODE,
    V1,
    Contract,
    deliveries,
)
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import (
    chain_of,
    delivery,
    on_chain,
    polls,
    settled,
    state_of,
    subscriptions,
    until,
    until_state,
    waiting,
)
from tests.support.running import configuration
from tests.support.serving import Echo, serving


@pytest.fixture
def consumer(v1: V1) -> Contract:
    return v1.deploy("SubscriptionConsumer")


def intervals(consumer: Contract) -> list[int]:
    return [each["interval"] for each in deliveries(consumer)]


async def test_each_interval_is_answered_when_it_begins(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, consumer, frequency=3, period=600)
        begins = v1.subscription(identifier)["activeAt"]
        await until_state(node, identifier, "active")
        v1.anvil.set_time(begins - 2)
        await polls(node)
        assert intervals(consumer) == []
        for number in (1, 2, 3):
            v1.anvil.set_time(begins + (number - 1) * 600)
            found = await received(consumer, number)
            assert found[-1]["interval"] == number
            asked_for = decode(["uint32", "uint32", "uint32", "address"], _input(found[-1]))
            assert asked_for[:2] == (identifier, number)
            assert asked_for[3] == NODE.address.lower()
        await until_state(node, identifier, "completed")
        v1.anvil.increase_time(6000)
        await polls(node)
        assert intervals(consumer) == [1, 2, 3]
        assert chain_of(node).pending == 0


def _input(found: dict[str, Any]) -> bytes:
    """What the container was given, which the echo answers."""
    text = decode(["string"], found["output"])[0]
    return bytes.fromhex(text.split("'")[3])


async def test_two_nodes_answer_with_redundancy_two(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    other = {"wallet": {"private_key": OTHER_NODE.key.hex()}}
    async with (
        on_chain(tmp_path / "one", v1=v1) as (one, _),
        on_chain(tmp_path / "two", v1=v1, chain=other) as (two, _),
    ):
        identifier = subscribe(v1, consumer, frequency=2, period=600, redundancy=2)
        await until_state(one, identifier, "active")
        await until_state(two, identifier, "active")
        for count in (2, 4):
            v1.anvil.increase_time(600)
            await received(consumer, count)
        await until_state(one, identifier, "completed")
        await until_state(two, identifier, "completed")
        found = [(each["interval"], each["node"]) for each in deliveries(consumer)]
        assert set(found) == {(n, node.address) for n in (1, 2) for node in (NODE, OTHER_NODE)}
        assert len(found) == 4


async def test_one_of_two_nodes_is_enough(tmp_path: Path, v1: V1) -> None:
    """The other one notices that the interval is complete, and pays for nothing in vain."""
    consumer = v1.deploy("CallbackConsumer")
    other = {"wallet": {"private_key": OTHER_NODE.key.hex()}}
    fast, slow = Echo(), Echo()
    async with (
        on_chain(tmp_path / "one", v1=v1, echo=Slow(fast)) as (one, _),
        on_chain(tmp_path / "two", v1=v1, echo=Slow(slow), chain=other) as (two, _),
    ):
        identifier = call_back(v1, consumer)
        for node in (one, two):
            await until_state(node, identifier, "active")
        for node, echo in ((one, fast), (two, slow)):
            echo.release()
            await until_state(node, identifier, "completed")
        assert len(deliveries(consumer)) == 1
        assert v1.anvil.nonce(OTHER_NODE.address) == 0


async def test_what_others_have_completed_is_paused(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    identifier = call_back(v1, consumer)
    answer_elsewhere(v1, identifier, 1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        own = call_back(v1, consumer)
        await until_state(node, own, "completed")
        assert await state_of(node, identifier) == ""
        assert len(echo.calls) == 1


async def test_lazy_answers_go_to_the_inbox(tmp_path: Path, v1: V1, consumer: Contract) -> None:
    async with on_chain(tmp_path, v1=v1):
        identifier = subscribe(v1, consumer, period=60, lazy=True)
        v1.anvil.increase_time(60)
        (found,) = await received(consumer, 1)
        assert found["output"] == b""
        assert found["containerId"] == container_hash("echo")
        item = v1.inbox.call("read", container_hash("echo"), NODE.address, found["index"])
        assert (item["subscriptionId"], item["interval"]) == (identifier, 1)
        assert decode(["string"], item["output"])[0].startswith("{'output'")


async def test_an_owner_without_inputs(tmp_path: Path, v1: V1, consumer: Contract) -> None:
    consumer.send("setInput", b"", True)  # getContainerInputs reverts
    async with on_chain(tmp_path, v1=v1) as (_, echo):
        subscribe(v1, consumer, period=60)
        v1.anvil.increase_time(60)
        await received(consumer, 1)
        assert [call["data"] for call in echo.calls] == [""]


async def test_only_the_running_interval_is_made_up_for(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    identifier = subscribe(v1, consumer, frequency=9, period=100)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, identifier, "active")
        v1.anvil.increase_time(100)
        await received(consumer, 1)
    v1.anvil.increase_time(450)
    async with on_chain(tmp_path, v1=v1):
        await received(consumer, 2)
        v1.anvil.increase_time(100)
        await received(consumer, 3)
        assert intervals(consumer) == [1, 5, 6]


async def test_intervals_that_pass_while_the_container_computes_are_left_out(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    echo = Echo()
    consumer.send("setInput", b"\x01", False)
    with listen("infernet_edge.chain.subscriptions.scheduler") as events:
        async with on_chain(tmp_path, v1=v1, echo=Slow(echo)) as (node, _):
            identifier = subscribe(v1, consumer, frequency=9, period=100)
            await until_state(node, identifier, "active")
            v1.anvil.increase_time(100)
            async with asyncio.timeout(10):
                while not echo.calls:
                    await asyncio.sleep(0.01)
            v1.anvil.increase_time(320)
            echo.release()
            await received(consumer, 1)
            assert intervals(consumer) == [4]
            assert (await delivery(node))["state"] == "failed"
        (missed,) = events.of("subscription.intervals_missed")
        assert (missed["subscription"], missed["first"], missed["last"]) == (identifier, 2, 3)


class Slow(Echo):
    """Gives the first answer when it is released."""

    def __init__(self, own: Echo) -> None:
        super().__init__()
        self.own = own

    async def answer(self, request: Any, data: Any) -> Any:
        self.own.calls = self.calls
        return await self.own.answer(request, {"hold": True})


async def test_a_short_period_does_not_wait_for_the_finality_of_each_answer(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    async with on_chain(tmp_path, v1=v1, chain={"trail_head_blocks": 20}) as (node, _):
        identifier = subscribe(v1, consumer, frequency=3, period=100)
        v1.anvil.mine(21, 1)
        await until_state(node, identifier, "active")
        begins = v1.subscription(identifier)["activeAt"]
        for number in (1, 2, 3):
            v1.anvil.set_time(begins + (number - 1) * 100)
            await received(consumer, number)
        assert intervals(consumer) == [1, 2, 3]
        assert chain_of(node).pending == 3
        v1.anvil.mine(21, 1)
        await until_state(node, identifier, "completed")


async def test_a_chain_that_makes_no_empty_blocks(
    tmp_path: Path, v1: V1, consumer: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.rpc.head_tracker._MAX_BLOCK_INTERVAL", 0.5)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, consumer, frequency=2, period=2)
        await until_state(node, identifier, "active")
        await received(consumer, 2)
        assert intervals(consumer) == [1, 2]


async def test_one_wrong_time_does_not_end_a_subscription(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, consumer, frequency=2, period=1000)
        await until_state(node, identifier, "active")
        head = chain_of(node).head
        assert head.latest is not None
        wrong = head.latest._replace(timestamp=head.latest.timestamp * 1000, hash="0x01")
        head.latest = wrong
        for watcher in head._watchers:  # noqa: SLF001 - a wrong block, for one of them
            if isinstance(watcher, schedule.Scheduler):
                watcher.answers(wrong, [])
        await polls(node)
        assert await state_of(node, identifier) == "active"
        v1.anvil.increase_time(1000)
        await received(consumer, 1)


async def test_expired_ones_are_not_begun(tmp_path: Path, v1: V1, consumer: Contract) -> None:
    identifier = subscribe(v1, consumer, frequency=2, period=100)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, identifier, "active")
    v1.anvil.increase_time(1000)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await until_state(node, identifier, "expired")
        (known,) = await subscriptions(node)
        assert known["reason"] == "its last interval, 2, is over"
        assert echo.calls == []


async def test_a_cancellation_that_is_not_mined_yet_is_waited_for(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    """The simulation sees it in the pending block; only a mined one ends the subscription."""
    echo = Echo()
    async with on_chain(tmp_path, v1=v1, echo=Slow(echo)) as (node, _):
        identifier = subscribe(v1, consumer, frequency=9, period=100)
        await until_state(node, identifier, "active")
        v1.anvil.increase_time(100)
        async with asyncio.timeout(10):
            while not echo.calls:
                await asyncio.sleep(0.01)
        v1.anvil.set_automine(False)
        cancelling = consumer.encode("cancelSubscription", identifier)
        v1.anvil.send_raw(ALICE, consumer.address, cancelling, gas=200_000)
        echo.release()
        async with asyncio.timeout(10):
            while not (await delivery(node))["reason"].startswith("SubscriptionNotActive"):
                await asyncio.sleep(0.02)
        assert await state_of(node, identifier) == "active"
        v1.anvil.mine(1)
        await until_state(node, identifier, "cancelled")
        assert (await settled(node))["transaction"] == ""


async def test_a_consumer_that_reverts_is_given_up_with_its_words(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 1)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        consumer.send("createSubscription", "echo", 1, 0)
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"] == f"Given up: The contract {consumer.address} reverts: not today"
        await until_state(node, 1, "failed")
        (known,) = await subscriptions(node)
        assert known["reason"] == found["reason"]
        assert len(echo.calls) == 1
        assert v1.anvil.nonce(NODE.address) == 0


async def test_a_consumer_that_reverts_on_the_chain_costs_three_transactions(
    tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("RevertingConsumer", ALICE.address)
    consumer.send("setMode", 7)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        consumer.send("createSubscription", "echo", 1, 0)
        found = await settled(node)
        assert found["state"] == "failed"
        assert found["reason"].startswith("Given up after 3 transactions")
        assert v1.anvil.nonce(NODE.address) == 3


async def test_a_container_that_fails_costs_one_interval_only(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    failing = Failing()
    async with on_chain(tmp_path, v1=v1, echo=failing) as (node, _):
        identifier = subscribe(v1, consumer, frequency=2, period=100)
        await until_state(node, identifier, "active")
        v1.anvil.increase_time(100)
        assert (await settled(node))["state"] == "failed"
        assert len(failing.calls) == 3
        await polls(node)
        assert len(failing.calls) == 3  # it is not run again and again
        failing.status = 200
        v1.anvil.increase_time(100)
        await received(consumer, 1)
        assert intervals(consumer) == [2]


class Failing(Echo):
    """Fails until `status` is 200."""

    status = 500

    async def answer(self, request: Any, data: Any) -> Any:
        return await super().answer(request, {"status": self.status})


@pytest.mark.parametrize("wrong_by", [-3600, 3600])
async def test_the_clock_of_the_host_does_not_count(
    tmp_path: Path, v1: V1, consumer: Contract, monkeypatch: pytest.MonkeyPatch, wrong_by: int
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong_by)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, consumer, frequency=2, period=1800)
        await until_state(node, identifier, "active")
        await polls(node)
        assert intervals(consumer) == []
        v1.anvil.increase_time(1800)
        await received(consumer, 1)
        await polls(node)
        assert intervals(consumer) == [1]


@pytest.mark.parametrize(
    ("redundancy", "revert"), [(2, "NodeRespondedAlready"), (1, "IntervalCompleted")]
)
async def test_an_answer_that_an_earlier_run_gave_is_not_given_again(
    tmp_path: Path, v1: V1, consumer: Contract, redundancy: int, revert: str
) -> None:
    """Also when only the chain still knows of it: by the node, or as complete."""
    identifier = subscribe(v1, consumer, frequency=2, period=1000, redundancy=redundancy)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, identifier, "active")
        v1.anvil.increase_time(1000)
        await received(consumer, 1)
    with closing(sqlite3.connect(configuration(tmp_path).database_path)) as connection:
        connection.execute("DELETE FROM deliveries")
        connection.execute("DELETE FROM transactions")
        connection.commit()
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        found = await settled(node)
        assert found["reason"].startswith(revert)
        assert (found["state"], found["answered_by"]) == ("delivered", "")
        v1.anvil.increase_time(1000)
        await received(consumer, 2)
        assert intervals(consumer) == [1, 2]
        assert len(echo.calls) == 1


async def test_a_full_queue_is_waited_for(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    with listen("infernet_edge.chain.subscriptions.scheduler") as events:
        async with on_chain(tmp_path, v1=v1) as (node, _):
            chain_of(node).deliveries.max_pending = 0
            call_back(v1, consumer)
            async with asyncio.timeout(10):
                while not events.of("subscription.deferred"):
                    await asyncio.sleep(0.01)
            assert "Too many pending" in events.of("subscription.deferred")[0]["reason"]
            chain_of(node).deliveries.max_pending = 10
            await received(consumer, 1)


async def test_no_more_are_pending_than_configured(tmp_path: Path, v1: V1) -> None:
    """The others wait for their turn, and simulate once only."""
    consumer = v1.deploy("CallbackConsumer")
    with listen("infernet_edge.chain.delivery") as events:
        async with on_chain(
            tmp_path, v1=v1, chain={"max_pending_transactions": 3, "trail_head_blocks": 50}
        ) as (node, echo):
            await chain_of(node).head.seen.wait()
            v1.anvil.set_automine(False)
            data = consumer.encode("requestCompute", "echo", b"\x07", 1, COIN, 0, NOBODY, NOBODY)
            first = v1.anvil.nonce(ALICE.address)
            for nonce in range(first, first + 9):
                v1.anvil.send_raw(ALICE, consumer.address, data, gas=400_000, nonce=nonce)
            v1.anvil.mine(51)
            async with asyncio.timeout(10):
                while len(v1.anvil.mempool()) < 3 or len(echo.calls) < 9:
                    await asyncio.sleep(0.05)
            await polls(node)
            assert len(v1.anvil.mempool()) == 3
            for mined in (3, 6, 9):  # long before the first ones are final
                await until(lambda: len(v1.anvil.mempool()) == 3)
                v1.anvil.mine(1)
                await received(consumer, mined)
            v1.anvil.mine(50)
            async with asyncio.timeout(10):
                while chain_of(node).pending:
                    await asyncio.sleep(0.05)
    assert events.of("delivery.deferred") == []
    assert len(deliveries(consumer)) == 9


async def test_events_name_subscription_and_interval(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    with listen("infernet_edge.chain") as events:
        async with on_chain(tmp_path, v1=v1) as (node, _):
            identifier = subscribe(v1, consumer, frequency=1, period=100)
            await until_state(node, identifier, "active")
            v1.anvil.increase_time(100)
            await until_state(node, identifier, "completed")
    for name in ("delivery.computing", "delivery.sent", "delivery.delivered", "transaction.sent"):
        (logged,) = events.of(name)
        assert (logged["subscription"], logged["interval"]) == (identifier, 1), name
    assert events.of("transaction.mined")[0]["subscription"] == identifier
    assert events.of("subscription.completed")[0]["subscription"] == identifier


async def test_inputs_are_asked_for_the_interval_and_this_node(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    consumer.send("setInput", encode(["string"], ["what"]), False)
    async with on_chain(tmp_path, v1=v1) as (_, echo):
        subscribe(v1, consumer, period=60)
        v1.anvil.increase_time(60)
        await received(consumer, 1)
        (call,) = echo.calls
        assert call["data"] == encode(["string"], ["what"]).hex()
        assert (call["source"], call["destination"]) == (0, 0)


async def test_after_a_start_one_call_shows_what_others_have_answered(
    tmp_path: Path, v1: V1, consumer: Contract
) -> None:
    ids = subscribe_many(v1, consumer, 8, period=200)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, ids[-1], "active")
    v1.anvil.increase_time(200 + 60)
    for each in ids[:6]:
        answer_elsewhere(v1, each, 1)
    with CountingProxy(v1.anvil.url) as proxy:
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url) as (node, _):
            await received(consumer, 8)  # six of the other node
            own = [each["subscriptionId"] for each in deliveries(consumer)[6:]]
            assert sorted(own) == ids[6:]
            called = [each for asked in proxy.requests for each in asked.functions]
            assert called.count(DELIVER_COMPUTE.selector) == 2  # one simulation of each
            v1.anvil.increase_time(200)
            await received(consumer, 16)


async def test_without_the_counts_all_is_begun(
    tmp_path: Path, v1: V1, consumer: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*arguments: Any) -> list[int]:
        raise RpcUnavailable("status 503")

    ids = subscribe_many(v1, consumer, 3, period=200)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, ids[-1], "active")
    v1.anvil.increase_time(200 + 60)
    answer_elsewhere(v1, ids[0], 1)
    monkeypatch.setattr(SubscriptionReader, "read_counts", unavailable)
    async with on_chain(tmp_path, v1=v1):
        await received(consumer, 3)
        assert sorted(each["subscriptionId"] for each in deliveries(consumer)) == ids


async def test_a_last_interval_that_others_have_answered_ends_the_subscription(
    tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1, echo=Slow(Echo()), chain={"trail_head_blocks": 1}) as (
        node,
        _,
    ):
        ids = [call_back(v1, consumer) for _ in range(3)]
        v1.anvil.mine()
        await until_state(node, ids[-1], "active")
        database = configuration(tmp_path).database_path
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM deliveries")  # as if none had fitted into the queue
    for each in ids:
        answer_elsewhere(v1, each, 1)
    v1.anvil.increase_time(60)
    v1.anvil.mine(2)
    async with on_chain(tmp_path, v1=v1, chain={"trail_head_blocks": 1}) as (node, echo):
        for each in ids:
            await until_state(node, each, "completed")
        assert echo.calls == []
        assert (await chain_of(node).report(100))["deliveries"] == []


async def test_no_retry_waits_past_the_next_interval(
    tmp_path: Path, v1: V1, consumer: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was prevented in one interval does not cost the next one."""
    monkeypatch.setattr(processor, "_FIRST_PAUSE", 10.0)
    monkeypatch.setattr(retry, "MAX_OUTAGE_PAUSE_SECONDS", 10.0)
    proxy = FaultyRpc(v1.anvil.url)

    async def refuse(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.StreamResponse:
        answers = await proxy.proper(asked)
        for call, answer in zip(asked, answers, strict=True):
            if DELIVER_COMPUTE.selector.hex() in str(call):
                answer.pop("result", None)
                answer["error"] = {"code": -32000, "message": "header not found"}
        return web.json_response(answers[0] if len(answers) == 1 else answers)

    proxy.fault = refuse
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        identifier = subscribe(v1, consumer, frequency=9, period=4)
        await until_state(node, identifier, "active")
        v1.anvil.set_block_time(1)
        await waiting(node, "header not found")
        proxy.heal()
        await received(consumer, 1)
        assert intervals(consumer)[0] <= 2  # 10 s later it is the third


def answer_elsewhere(v1: V1, identifier: int, interval: int) -> None:
    """Answer an interval as another node."""
    arguments = (identifier, interval, b"", b"theirs", b"", NOBODY)
    v1.coordinator.send("deliverCompute", *arguments, sender=OTHER_NODE)
