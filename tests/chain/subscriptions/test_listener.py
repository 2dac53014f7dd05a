"""Subscriptions that contracts make: found, chosen, remembered, taken back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain.contracts.abi import READ_SUBSCRIPTION_BATCH, SUBSCRIPTION_CANCELLED
from infernet_edge.chain.contracts.reader import SubscriptionPage
from infernet_edge.chain.subscriptions import listener, log_cursor
from infernet_edge.chain.subscriptions.listener import Listener
from tests.support.asking import call_back, received, subscribe
from tests.support.counting_proxy import CountingProxy
from tests.support.events import Events, listen
from tests.support.evm import ALICE, V1, deliveries
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.onchain import (
    chain_of,
    on_chain,
    polls,
    settled,
    state_of,
    subscriptions,
    until,
    until_state,
)
from tests.support.running import configuration
from tests.support.serving import Echo, serving


@pytest.fixture(name="events")
def events_fixture() -> Iterator[Events]:
    with listen("infernet_edge.chain") as events:
        yield events


def small_batches(size: int, **more: Any) -> dict[str, Any]:
    return {"snapshot_sync": {"sync_period": 0.1, "sleep": 0, "batch_size": size, **more}}


async def test_what_was_asked_while_the_node_was_off_is_found(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(7):
        call_back(v1, consumer)
    async with on_chain(tmp_path, v1=v1, chain=small_batches(3)):
        found = await received(consumer, 7)
        assert sorted(each["subscriptionId"] for each in found) == list(range(1, 8))


async def test_the_first_subscription_to_look_at_can_be_chosen(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(4):
        call_back(v1, consumer)
    async with on_chain(tmp_path, v1=v1, chain=small_batches(2, starting_sub_id=3)) as (node, _):
        await received(consumer, 2)
        call_back(v1, consumer)
        found = await received(consumer, 3)
        assert sorted(each["subscriptionId"] for each in found) == [3, 4, 5]
        assert await state_of(node, 2) == ""


async def test_a_restart_does_not_start_over(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    recurring = v1.deploy("SubscriptionConsumer")
    for _ in range(30):
        call_back(v1, consumer, "unknown")
    waiting = subscribe(v1, recurring, frequency=3, period=10_000)
    settings = small_batches(5)
    async with on_chain(tmp_path, v1=v1, chain=settings) as (node, _):
        await until_state(node, waiting, "active")
    with CountingProxy(v1.anvil.url) as proxy:
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url, chain=settings) as (node, _):
            assert await state_of(node, waiting) == "active"
            call_back(v1, consumer)
            await received(consumer, 1)
            v1.anvil.increase_time(10_000)
            await received(recurring, 1)
        reads = sum(asked.methods.count("eth_call") >= 3 for asked in proxy.requests)
        assert reads < 6  # of 6 pages in the whole, and some polls


async def test_each_page_is_read_once(tmp_path: Path, v1: V1) -> None:
    """Looks at the chain in the middle of a sync find nothing that it does not read anyway."""
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(6):
        call_back(v1, consumer, "unknown")
    v1.anvil.mine()
    with CountingProxy(v1.anvil.url) as proxy:
        settings = small_batches(2, sleep=0.3)
        async with on_chain(tmp_path, v1=v1, rpc_url=proxy.url, chain=settings) as (node, _):
            await until_state(node, 6, "ignored")
            await polls(node)
        pages = [
            each for each in proxy.requests if READ_SUBSCRIPTION_BATCH.selector in each.functions
        ]
        assert len(pages) == 3


async def test_other_rules_look_at_everything_again(tmp_path: Path, v1: V1) -> None:
    """A container that was not configured may be now."""
    consumer = v1.deploy("CallbackConsumer")
    call_back(v1, consumer, "other")
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        await until_state(node, 1, "ignored")
        (ignored,) = await subscriptions(node, ignored=True)
        assert ignored["reason"].startswith("Container not supported, container 0x")
        assert echo.calls == []
    async with on_chain(tmp_path, v1=v1, container={"id": "other"}) as (node, _):
        await received(consumer, 1)
        assert await subscriptions(node, ignored=True) == []


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        ({"external": False}, "First container must be external, first_container echo"),
        ({"allowed_addresses": [ALICE.address]}, "Container not allowed for address"),
        ({"accepted_payments": {ALICE.address: 1}}, "Subscription pays nothing, container echo"),
        ({"accepted_payments": {"0x" + "00" * 20: 5}}, "Payment too small, "),
    ],
)
async def test_what_the_rules_forbid_is_ignored_with_its_reason(
    tmp_path: Path, v1: V1, container: dict[str, Any], reason: str, events: Events
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1, container=container) as (node, echo):
        call_back(v1, consumer)
        await until_state(node, 1, "ignored")
        (ignored,) = await subscriptions(node, ignored=True)
        assert ignored["reason"].startswith(reason)
        (logged,) = events.of("subscription.ignored")
        assert (logged["subscription"], logged["reason"]) == (1, ignored["reason"])
        assert echo.calls == []


async def test_a_proof_that_no_container_makes_is_not_promised(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        call_back(v1, consumer, verifier=ALICE.address)
        await until_state(node, 1, "ignored")
        (ignored,) = await subscriptions(node, ignored=True)
        assert ignored["reason"].startswith(
            "Container does not generate proof, container echo; set"
        )


async def test_an_ignored_one_does_not_stand_in_the_way(tmp_path: Path, v1: V1) -> None:
    recurring, consumer = v1.deploy("SubscriptionConsumer"), v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1):
        subscribe(v1, recurring, "unknown", frequency=100, period=1)
        call_back(v1, consumer)
        await received(consumer, 1)
        call_back(v1, consumer)
        await received(consumer, 2)


async def test_it_stays_behind_the_head(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    v1.anvil.mine(5)
    async with on_chain(tmp_path, v1=v1, chain={"trail_head_blocks": 3}) as (node, echo):
        call_back(v1, consumer)
        v1.anvil.mine(2)
        await polls(node)
        assert await state_of(node, 1) == ""
        assert echo.calls == []
        v1.anvil.mine(1)
        await until_state(node, 1, "active")


async def test_pages_shrink_until_the_server_takes_them(
    tmp_path: Path, v1: V1, events: Events
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(9):
        call_back(v1, consumer)
    proxy = FaultyRpc(v1.anvil.url)

    async def too_large(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if len(str(each.get("result"))) > 3 * 704 + 200 and question["method"] == "eth_call":
                del each["result"]
                each["error"] = {"code": -32000, "message": "response is too large"}
        return web.json_response(proper[0] if len(proper) == 1 else proper)

    proxy.fault = too_large
    async with (
        serving(proxy) as url,
        on_chain(tmp_path, v1=v1, rpc_url=url, chain=small_batches(8)),
    ):
        await received(consumer, 9)
    assert [logged["size"] for logged in events.of("listener.batch_shrunk")][-1] <= 3


async def test_a_long_sync_reports_how_far_it_is(
    tmp_path: Path, v1: V1, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is ignored is counted then, not logged one by one."""
    monkeypatch.setattr(listener, "_PROGRESS_PERIOD", 0.0)
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(22):
        call_back(v1, consumer, "unknown")
    call_back(v1, consumer)
    async with on_chain(tmp_path, v1=v1, chain=small_batches(10)):
        await received(consumer, 1)
    steps = [(logged["done"], logged["of"]) for logged in events.of("listener.sync_advanced")]
    assert steps == [(10, 23), (20, 23)]
    (whole,) = events.of("listener.synced")
    assert (whole["done"], whole["active"], whole["ignored"]) == (23, 1, 22)
    assert len(events.of("subscription.ignored")) <= 20
    assert [logged["subscription"] for logged in events.of("subscription.found")] == [23]


async def test_a_cancelled_subscription_is_noticed_before_it_is_due(
    tmp_path: Path, v1: V1, events: Events
) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        identifier = subscribe(v1, consumer, frequency=5, period=10_000)
        await until_state(node, identifier, "active")
        consumer.send("cancelSubscription", identifier)
        await until_state(node, identifier, "cancelled")
        assert events.of("subscription.cancelled")[0]["subscription"] == identifier
        v1.anvil.increase_time(20_000)
        await polls(node)
        assert echo.calls == []


async def test_more_logs_than_are_kept_lose_no_cancellation(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, consumer, frequency=5, period=10_000)
        await until_state(node, identifier, "active")
        await asyncio.sleep(0.3)
        monkeypatch.setattr(log_cursor, "_MAX_LOGS", 0)
        consumer.send("cancelSubscription", identifier)
        await until_state(node, identifier, "cancelled")


async def test_a_subscription_cancelled_while_the_node_is_off(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    identifier = subscribe(v1, consumer, frequency=5, period=10_000)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, identifier, "active")
    consumer.send("cancelSubscription", identifier)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, identifier, "cancelled")


async def test_a_subscription_cancelled_in_mid_compute_gets_no_answer(
    tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    echo = Held()
    async with on_chain(tmp_path, v1=v1, echo=echo) as (node, _):
        identifier = call_back(v1, consumer)
        async with asyncio.timeout(10):
            while not echo.calls:
                await asyncio.sleep(0.01)
        consumer.send("cancelSubscription", identifier)
        echo.release()
        found = await settled(node)
        assert (found["state"], found["transaction"]) == ("failed", "")
        await until_state(node, identifier, "cancelled")
        assert deliveries(consumer) == []


class Held(Echo):
    """Answers only when it is released."""

    async def answer(self, request: web.Request, data: Any) -> web.StreamResponse:
        return await super().answer(request, {"hold": True})


async def test_a_subscription_that_a_reorg_removes(tmp_path: Path, v1: V1, events: Events) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    v1.anvil.mine(3)
    async with on_chain(tmp_path, v1=v1) as (node, echo):
        identifier = subscribe(v1, consumer, frequency=3, period=5000)
        await until_state(node, identifier, "active")
        v1.anvil.reorg(2)
        v1.anvil.mine(1)
        await until_state(node, identifier, "removed")
        assert events.of("subscription.removed")
        # Another takes its id, and is served.
        other = v1.deploy("CallbackConsumer")
        assert call_back(v1, other) == identifier
        await received(other, 1)
        assert len(echo.calls) == 1


async def test_a_reorg_in_the_middle_of_reading_mixes_no_ids_up(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Listener._page  # noqa: SLF001 - wrapped below

    async def reorged(self: Listener, first: int, limit: int) -> SubscriptionPage:
        if self._next_id == 4 and self._head.latest is not None:
            self._note_reorg(self._head.latest, 0)
        return await usual(self, first, limit)

    monkeypatch.setattr(Listener, "_page", reorged)
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(3):
        call_back(v1, consumer, "unknown")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, 3, "ignored")
        call_back(v1, consumer)
        (found,) = await received(consumer, 1)
        assert found["subscriptionId"] == 4
        await until_state(node, 4, "completed")
        assert len(await subscriptions(node, ignored=True)) == 3
        assert len(deliveries(consumer)) == 1


async def test_another_subscription_in_the_place_of_one(
    tmp_path: Path, v1: V1, events: Events
) -> None:
    """The blocks after a reorg may hold as many subscriptions, but not the same."""
    consumer, other = v1.deploy("SubscriptionConsumer"), v1.deploy("CallbackConsumer")
    v1.anvil.mine(3)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        before = v1.anvil.snapshot()
        identifier = subscribe(v1, consumer, frequency=3, period=5000)
        await until_state(node, identifier, "active")
        v1.anvil.pause()
        v1.anvil.resume()
        v1.anvil.revert(before)
        assert call_back(v1, other) == identifier
        v1.anvil.mine(2)
        await received(other, 1)
        assert events.of("chain.reorged")


async def test_a_hundred_blocks_without_the_server(tmp_path: Path, v1: V1) -> None:
    consumer, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    proxy = FaultyRpc(v1.anvil.url)

    async def down(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        return web.Response(status=503)

    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        long = subscribe(v1, recurring, frequency=9, period=10_000)
        await until_state(node, long, "active")
        proxy.fault = down
        before = len(proxy.methods)
        await until(lambda: len(proxy.methods) > before + 2)
        call_back(v1, consumer)
        v1.anvil.mine(100)
        recurring.send("cancelSubscription", long)
        proxy.heal()
        await received(consumer, 1, timeout=40)
        await until_state(node, long, "cancelled")


async def test_a_server_that_gives_no_logs(tmp_path: Path, v1: V1) -> None:
    """Subscriptions are found without; that one is cancelled shows when it is due."""
    consumer, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    proxy = FaultyRpc(v1.anvil.url)

    async def no_logs(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_getLogs":
                each.pop("result", None)
                each["error"] = {"code": -32601, "message": "the method does not exist"}
        return web.json_response(proper[0] if len(proper) == 1 else proper)

    proxy.fault = no_logs
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, echo):
        identifier = subscribe(v1, recurring, frequency=3, period=1000)
        call_back(v1, consumer)
        await received(consumer, 1)
        recurring.send("cancelSubscription", identifier)
        v1.anvil.increase_time(1000)
        await until_state(node, identifier, "cancelled")
        assert len(echo.calls) == 1


async def test_a_problem_that_lasts_is_one_line(tmp_path: Path, v1: V1, events: Events) -> None:
    """Although the number in the server's words is another one each time."""
    consumer = v1.deploy("CallbackConsumer")
    proxy, refused = FaultyRpc(v1.anvil.url), 0
    selector = "0x" + READ_SUBSCRIPTION_BATCH.selector.hex()

    async def lagging(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        nonlocal refused
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_call" and selector in str(question["params"]):
                refused += 1
                each.pop("result", None)
                words = f"missing trie node of block {1000 + refused}"
                each["error"] = {"code": -32000, "message": words}
        return web.json_response(proper[0] if len(proper) == 1 else proper)

    proxy.fault = lagging
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        call_back(v1, consumer)
        async with asyncio.timeout(20):
            while refused < 4:
                await asyncio.sleep(0.05)
        status = await chain_of(node).status()
        assert status is not None
        (problem,) = status["problems"]
        assert problem.startswith("Subscriptions cannot be read: missing trie node of block 10")
        proxy.heal()
        await received(consumer, 1)
    (line,) = events.of("listener.deferred")
    assert "missing trie node" in line["reason"]


async def test_a_registry_that_is_none_is_reported(tmp_path: Path, v1: V1, events: Events) -> None:
    wrong = {"registry_address": ALICE.address}
    async with on_chain(tmp_path, v1=v1, chain=wrong) as (node, _):
        async with asyncio.timeout(10):
            while not events.of("listener.deferred"):
                await asyncio.sleep(0.02)
        assert "registry" in events.of("listener.deferred")[0]["reason"]
        assert (await node.get("/health")).status == 200


async def test_what_is_kept_of_others_is_bounded(
    tmp_path: Path, v1: V1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.subscriptions.store._KEPT", 5)
    consumer = v1.deploy("CallbackConsumer")
    for _ in range(12):
        call_back(v1, consumer, "unknown")
    async with on_chain(tmp_path, v1=v1, chain=small_batches(4)) as (node, _):
        await until_state(node, 12, "ignored")
        kept = await subscriptions(node, ignored=True)
        assert [each["id"] for each in kept] == [12, 11, 10, 9, 8]


async def test_idle_polls_write_nothing(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        identifier = subscribe(v1, consumer, frequency=3, period=100_000)
        await until_state(node, identifier, "active")
        with closing(sqlite3.connect(configuration(tmp_path).database_path)) as connection:
            before = connection.execute("PRAGMA data_version").fetchone()
            for _ in range(5):
                v1.anvil.mine(1)
                await asyncio.sleep(0.15)
            assert connection.execute("PRAGMA data_version").fetchone() == before


async def test_many_subscriptions_in_one_block(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        v1.anvil.set_automine(False)
        data = consumer.encode(
            "requestCompute", "echo", b"\x07", 1, "0x" + "00" * 20, 0, *["0x" + "00" * 20] * 2
        )
        first = v1.anvil.nonce(ALICE.address)
        for nonce in range(first, first + 20):
            v1.anvil.send_raw(ALICE, consumer.address, data, gas=400_000, nonce=nonce)
        v1.anvil.mine(1)
        v1.anvil.set_automine(True)
        found = await received(consumer, 20)
        assert sorted(each["subscriptionId"] for each in found) == list(range(1, 21))
        async with asyncio.timeout(10):
            while chain_of(node).pending:
                await asyncio.sleep(0.05)
        assert len(deliveries(consumer)) == 20


def answered(answers: Answers) -> web.Response:
    return web.json_response(answers[0] if len(answers) == 1 else answers)


async def test_a_server_that_lags_loses_no_subscription(tmp_path: Path, v1: V1) -> None:
    """Behind one address there may be servers that have not seen the newest blocks."""
    consumer, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    proxy = FaultyRpc(v1.anvil.url)
    lags = {"eth_call": 0}

    async def lagging(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] != "eth_call":
                continue
            data = question["params"][0]["data"][2:10]
            if data == "a17b920b" and question["params"][1] == "latest":  # getSubscription
                each["result"] = "0x" + "00" * 352
            if data == "c509543d" and lags["eth_call"] < 2:  # deliverCompute
                lags["eth_call"] += 1
                each.pop("result", None)
                each["error"] = {"code": 3, "message": "execution reverted", "data": "0x1a00354f"}
        return answered(proper)

    proxy.fault = lagging
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        long = subscribe(v1, recurring, frequency=2, period=5000)
        call_back(v1, consumer)
        await received(consumer, 1)
        assert lags["eth_call"] == 2
        assert await state_of(node, long) == "active"
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        await polls(node)  # all that is followed was read again
        assert await state_of(node, long) == "active"


@pytest.mark.parametrize("answer", [None, 7, "0x", {}, [{"topics": 5}], [None]])
async def test_logs_that_are_none_stop_nothing(tmp_path: Path, v1: V1, answer: Any) -> None:
    consumer = v1.deploy("CallbackConsumer")
    proxy = FaultyRpc(v1.anvil.url)

    async def nonsense(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_getLogs":
                each["result"] = answer
        return answered(proper)

    proxy.fault = nonsense
    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url):
        call_back(v1, consumer)
        await received(consumer, 1)
        call_back(v1, consumer)
        await received(consumer, 2)


@pytest.mark.parametrize(
    "topics", [["0x"], [SUBSCRIPTION_CANCELLED], [SUBSCRIPTION_CANCELLED, "0xzz"]]
)
async def test_a_malformed_log_does_not_stay_in_the_way(
    tmp_path: Path, v1: V1, topics: list[str]
) -> None:
    consumer, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    proxy = FaultyRpc(v1.anvil.url)

    async def malformed(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        newest = hex(v1.anvil.block().number)
        for question, each in zip(asked, proper, strict=True):
            if question["method"] == "eth_getLogs":
                each["result"] = [{"blockNumber": newest, "topics": topics}, *each["result"]]
        return answered(proper)

    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        identifier = subscribe(v1, recurring, frequency=2, period=5000)
        await until_state(node, identifier, "active")
        proxy.fault = malformed
        call_back(v1, consumer)
        await received(consumer, 1)
        recurring.send("cancelSubscription", identifier)
        await until_state(node, identifier, "cancelled")


async def test_a_server_that_gives_logs_of_few_blocks_only(tmp_path: Path, v1: V1) -> None:
    """After a long silence the node does not ask for more than it answers in time."""
    consumer, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    proxy = FaultyRpc(v1.anvil.url)

    async def down(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        return web.Response(status=503)

    async def few(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        newest = v1.anvil.block().number
        for question in asked:
            first = question["params"][0]["fromBlock"] if "Logs" in question["method"] else "latest"
            if first != "latest" and newest - int(first, 16) > 1000:
                return web.Response(status=504)
        return answered(await proxy.proper(asked))

    async with serving(proxy) as url, on_chain(tmp_path, v1=v1, rpc_url=url) as (node, _):
        identifier = subscribe(v1, recurring, frequency=2, period=50_000)
        await until_state(node, identifier, "active")
        proxy.fault = down
        before = len(proxy.methods)
        await until(lambda: len(proxy.methods) > before + 2)
        recurring.send("cancelSubscription", identifier)
        v1.anvil.mine(1200)
        proxy.fault = few
        call_back(v1, consumer)
        await received(consumer, 1, timeout=60)
        await until_state(node, identifier, "cancelled")


async def test_a_reorg_while_the_node_was_off(tmp_path: Path, v1: V1) -> None:
    consumer, other = v1.deploy("SubscriptionConsumer"), v1.deploy("CallbackConsumer")
    v1.anvil.mine(3)
    before = v1.anvil.snapshot()
    identifier = subscribe(v1, consumer, frequency=3, period=5000)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await until_state(node, identifier, "active")
    v1.anvil.revert(before)
    assert call_back(v1, other) == identifier
    v1.anvil.mine(4)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        await received(other, 1)
        await until_state(node, identifier, "completed")


async def test_a_chain_that_is_begun_anew(tmp_path: Path, v1: V1, events: Events) -> None:
    """As development chains are, under a node that runs."""
    consumer = v1.deploy("CallbackConsumer")
    v1.anvil.mine(2)
    before = v1.anvil.snapshot()
    async with on_chain(tmp_path, v1=v1) as (node, _):
        for _ in range(4):
            call_back(v1, consumer)
        await received(consumer, 4)
        async with asyncio.timeout(10):
            while chain_of(node).pending:
                await asyncio.sleep(0.05)
        v1.anvil.mine(100)
        await polls(node)
        v1.anvil.revert(before)
        v1.anvil.increase_time(1000)  # else they could begin in the same second as the old ones
        for _ in range(3):
            call_back(v1, consumer, input=b"\x09")
        found = await received(consumer, 3)
        assert sorted(each["subscriptionId"] for each in found) == [1, 2, 3]
        assert events.of("chain.reorged")


async def test_a_first_id_that_is_not_there_yet_is_waited_for(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    call_back(v1, consumer)
    async with on_chain(tmp_path, v1=v1, chain=small_batches(5, starting_sub_id=3)) as (node, _):
        call_back(v1, consumer)
        await polls(node)
        call_back(v1, consumer)
        (found,) = await received(consumer, 1)
        assert found["subscriptionId"] == 3
        assert await state_of(node, 2) == ""
