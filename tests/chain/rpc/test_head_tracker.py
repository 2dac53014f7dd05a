from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain.rpc import head_tracker as module
from infernet_edge.chain.rpc import retry
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import BlockHeader, HeadTracker, parse_block
from infernet_edge.http_client.client import HttpClient
from tests.support.scripted_rpc import Asked, RpcFault, ScriptedRpc, reply, transformed


class Clock:
    """Stands for the module `time`, and only moves when a test moves it."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.date = 5.0

    def monotonic(self) -> float:
        return self.steady

    def time(self) -> float:
        return self.date


class Curious:
    """A watcher that asks the same each time."""

    def __init__(self, *questions: Call) -> None:
        self.asks = list(questions)
        self.seen: list[tuple[BlockHeader, list[Any]]] = []

    def questions(self) -> list[Call]:
        return list(self.asks)

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        self.seen.append((block, answers))


class Chain:
    """Blocks that a test makes."""

    def __init__(self, server: ScriptedRpc) -> None:
        self.number = 100
        self.timestamp = 1_700_000_000
        self.fork = "a"
        server.results["eth_getBlockByNumber"] = self.latest

    def latest(self, tag: str, full: bool) -> dict[str, Any]:
        assert (tag, full) == ("latest", False)
        return {
            "number": hex(self.number),
            "timestamp": hex(self.timestamp),
            "hash": f"0x{self.number:062x}{self.fork * 2}",
            "baseFeePerGas": "0x7",
        }

    def mine(self, blocks: int = 1, seconds: int = 2) -> None:
        self.number += blocks
        self.timestamp += blocks * seconds


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRpc]:
    async with ScriptedRpc() as server:
        yield server


@pytest.fixture
def chain(server: ScriptedRpc) -> Chain:
    return Chain(server)


@pytest.fixture
async def head(server: ScriptedRpc) -> AsyncIterator[HeadTracker]:
    async with HttpClient() as http:
        rpc = RpcClient(http, [server.url])
        yield HeadTracker(rpc, 0.5)
        await rpc.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_everybody_is_asked_in_one_batch(
    head: HeadTracker, server: ScriptedRpc, chain: Chain
) -> None:
    def fail() -> None:
        raise RpcFault({"code": 3, "message": "execution reverted", "data": "0x01"})

    server.results["eth_call"] = fail
    server.results["eth_getBalance"] = lambda address: address
    curious, silent, other = (
        Curious(("eth_getBalance", ["0x1"]), ("eth_call", [])),
        Curious(),
        Curious(("eth_getBalance", ["0x2"])),
    )
    for watcher in (curious, silent, other):
        head.watch(watcher)
    await head.poll()
    block = BlockHeader(100, 1_700_000_000, "0x" + f"{100:062x}aa", 7)
    assert head.latest == block
    [(seen, [balance, error])] = curious.seen
    assert seen == block
    assert balance == "0x1"
    assert isinstance(error, RpcError)
    assert error.data == b"\x01"
    assert silent.seen == [(block, [])]
    assert other.seen == [(block, ["0x2"])]
    assert len(server.requests) == 1

    head.unwatch(curious)
    head.unwatch(curious)
    chain.mine()
    await head.poll()
    assert len(curious.seen) == 1
    assert len(other.seen) == 2


async def test_a_watcher_that_fails_harms_nobody(
    head: HeadTracker, chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Curious):
        def answers(self, block: BlockHeader, answers: list[Any]) -> None:
            raise KeyError("oh")

    healthy = Curious()
    head.watch(Broken())
    head.watch(healthy)
    with caplog.at_level(logging.ERROR):
        await head.poll()
    assert healthy.seen
    assert "head.watcher_failed" in caplog.text


async def test_a_watcher_that_leaves_in_the_middle_is_reported_nothing(
    head: HeadTracker, chain: Chain
) -> None:
    leaving = Curious(("eth_getBlockByNumber", ["latest", False]))

    class Remover(Curious):
        def answers(self, block: BlockHeader, answers: list[Any]) -> None:
            head.unwatch(leaving)

    last = Curious(("eth_chainId", []))
    for watcher in (Remover(), leaving, last):
        head.watch(watcher)
    await head.poll()
    assert not leaving.seen
    assert last.seen[0][1] == ["0x7a69"]


@pytest.mark.parametrize(
    "answer",
    [None, [], "0x1", {}, {"number": "0x1", "timestamp": None, "hash": "0x"}, {"number": 5}],
)
def test_what_is_no_block(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"block|quantity"):
        parse_block(answer)


def test_blocks_from_before_1559_have_no_base_fee() -> None:
    answer = {"number": "0x1", "timestamp": "0x2", "hash": "0xab"}
    assert parse_block(answer) == BlockHeader(1, 2, "0xab", None)


async def test_a_server_that_gives_no_block(head: HeadTracker, server: ScriptedRpc) -> None:
    with pytest.raises(RpcUnavailable, match="not available"):
        await head.poll()
    server.results["eth_getBlockByNumber"] = None
    with pytest.raises(RpcUnavailable, match="is no block"):
        await head.poll()
    assert head.latest is None


async def test_the_time_is_the_chains(
    head: HeadTracker, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    assert head.now() == 5, "nothing else is known yet"
    await head.poll()
    clock.date += 3600  # a wrong clock that is set right
    assert head.now() == 1_700_000_000
    clock.steady += 4.5
    assert head.now() == 1_700_000_004
    await head.poll()
    assert head.now() == 1_700_000_004, "the same block says nothing new"
    chain.mine(seconds=60)
    await head.poll()
    assert head.now() == 1_700_000_060


async def test_answers_from_the_past_are_left_out(head: HeadTracker, chain: Chain) -> None:
    watcher = Curious()
    head.watch(watcher)
    await head.poll()
    chain.number -= 1
    for _ in range(3):
        await head.poll()
    assert head.latest is not None
    assert head.latest.number == 100
    assert len(watcher.seen) == 1
    await head.poll()  # so it is no server that lags, but a chain that went back
    assert head.latest.number == 99
    assert len(watcher.seen) == 2


async def test_a_server_that_lags_beside_others_is_no_reorg(
    head: HeadTracker, chain: Chain
) -> None:
    """One address, and one of the machines behind it is a block late for long."""
    watcher = Curious()
    head.watch(watcher)
    await head.poll()
    for number in (99, 100) * 8:
        chain.number = number
        await head.poll()
    assert head.latest is not None
    assert head.latest.number == 100
    assert {block.number for block, _ in watcher.seen} == {100}


async def test_another_block_of_the_same_number_is_noticed(head: HeadTracker, chain: Chain) -> None:
    await head.poll()
    chain.fork = "b"
    await head.poll()
    assert head.latest is not None
    assert head.latest.hash.endswith("bb")


async def test_while_no_block_comes_a_poll_is_one_call(
    head: HeadTracker, server: ScriptedRpc, chain: Chain
) -> None:
    server.results["eth_getBalance"] = "0x1"
    curious, silent = Curious(("eth_getBalance", ["0x1"])), Curious()
    head.watch(curious)
    head.watch(silent)
    for _ in range(4):
        await head.poll()
    assert server.asked("eth_getBalance") == len(curious.seen) == 1
    assert len(silent.seen) == 4, "time passes without blocks"
    chain.mine()
    await head.poll()
    assert [block.number for block, _ in curious.seen] == [100, 101]
    assert len(silent.seen) == 5


async def test_calls_that_failed_are_made_with_the_next_poll(
    head: HeadTracker, server: ScriptedRpc, chain: Chain
) -> None:
    server.results["eth_getBalance"] = "0x1"
    curious = Curious(("eth_getBalance", ["0x1"]))
    head.watch(curious)
    await head.poll()
    chain.mine()

    async def second_fails(request: web.Request, asked: Asked) -> web.StreamResponse:
        if any(each["method"] == "eth_getBalance" for each in asked):
            return web.Response(status=503)
        return await transformed(lambda answers: answers, server)(request, asked)

    server.always = second_fails
    with pytest.raises(RpcUnavailable):
        await head.poll()
    assert head.latest is not None
    assert head.latest.number == 101
    server.always = None
    await asyncio.sleep(1.0)  # the server is paused
    await head.poll()
    assert [block.number for block, _ in curious.seen] == [100, 101]


async def test_calls_are_repeated_when_no_block_comes_for_long(
    head: HeadTracker, server: ScriptedRpc, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    server.results["eth_getBalance"] = "0x1"
    curious = Curious(("eth_getBalance", ["0x1"]))
    head.watch(curious)
    for _ in range(60):
        await head.poll()
        clock.steady += 1
    assert len(curious.seen) == 4


@pytest.mark.parametrize("wish", ["poll_soon", "watch"])
async def test_what_is_new_is_asked_without_a_new_block(
    head: HeadTracker, server: ScriptedRpc, chain: Chain, wish: str
) -> None:
    """A transaction may have been mined in the block that is known already."""
    server.results["eth_getBalance"] = "0x1"
    curious = Curious(("eth_getBalance", ["0x1"]))
    head.watch(curious)
    await head.poll()
    if wish == "watch":
        head.watch(Curious(("eth_getBalance", ["0x2"])))
    else:
        head.poll_soon()
    await head.poll()
    assert len(curious.seen) == 2
    await head.poll()
    assert len(curious.seen) == 2


async def test_where_blocks_come_fast_a_poll_is_one_request(
    head: HeadTracker, server: ScriptedRpc, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    server.results["eth_getBalance"] = "0x1"
    curious = Curious(("eth_getBalance", ["0x1"]))
    head.watch(curious)
    for _ in range(20):
        await head.poll()
        chain.mine(2)
        clock.steady += head.pause()
    assert len(curious.seen) == 20
    assert len(server.requests) <= 25


async def polls(
    head: HeadTracker, chain: Chain, clock: Clock, seconds: float, blocks: int
) -> tuple[int, float]:
    """Let blocks come at a pace; returns how many polls there were, and the worst delay."""
    count, worst, due = 0, 0.0, clock.steady
    for _ in range(blocks):
        due += seconds
        while clock.steady < due:
            await head.poll()
            count += 1
            clock.steady += head.pause()
        worst = max(worst, clock.steady - due)
        chain.mine()
    return count, worst


async def test_no_more_than_two_polls_a_block_where_blocks_come_steadily(
    head: HeadTracker, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    await polls(head, chain, clock, 12.0, 15)
    count, worst = await polls(head, chain, clock, 12.0, 100)
    assert count <= 200
    assert worst <= 0.5 + 1e-6


async def test_what_is_due_does_not_wait_for_a_chain_that_stands_still(
    head: HeadTracker, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain may make no blocks without transactions."""
    monkeypatch.setattr(module, "_MAX_BLOCK_INTERVAL", 0.5)
    monkeypatch.setattr(head, "pause", lambda: 3600.0)
    due = chain.timestamp + 2

    class Waiting(Curious):
        def answers(self, block: BlockHeader, answers: list[Any]) -> None:
            if head.passed() < due:
                head.poll_by(due)
            else:
                super().answers(block, answers)

    waiting = Waiting()
    head.watch(waiting)
    async with asyncio.timeout(6), asyncio.TaskGroup() as group:
        task = group.create_task(head.run())
        await until(lambda: bool(waiting.seen))
        task.cancel()


async def test_what_becomes_due_sooner_shortens_the_pause(
    head: HeadTracker, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BLOCK_INTERVAL", 0.5)
    monkeypatch.setattr(head, "pause", lambda: 3600.0)
    watcher = Curious()
    head.watch(watcher)
    async with asyncio.timeout(6), asyncio.TaskGroup() as group:
        task = group.create_task(head.run())
        await until(lambda: len(watcher.seen) == 1)
        await asyncio.sleep(0.6)
        head.poll_by(chain.timestamp + 2)
        await until(lambda: len(watcher.seen) == 2)
        task.cancel()


async def test_it_polls_on_through_an_outage(server: ScriptedRpc, chain: Chain) -> None:
    async with HttpClient() as http:
        rpc = RpcClient(http, [server.url])
        head = HeadTracker(rpc, 0.01)
        watcher = Curious()
        head.watch(watcher)
        task = asyncio.create_task(head.run())
        await until(lambda: len(watcher.seen) >= 2)
        server.always = reply(503)
        await until(lambda: bool(rpc.problem))
        chain.mine()
        server.always = None
        await until(lambda: head.latest is not None and head.latest.number == 101)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rpc.close()


async def test_after_an_outage_it_polls_within_five_seconds(
    server: ScriptedRpc, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MAX_OUTAGE_PAUSE_SECONDS", 5.0)
    pauses = await pauses_of(server, chain, monkeypatch, outage=8)
    assert pauses[:-1] == sorted(pauses[:-1])
    assert pauses[-1] == 5.0


async def test_in_an_outage_no_pause_goes_past_what_is_due(
    server: ScriptedRpc, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MAX_OUTAGE_PAUSE_SECONDS", 5.0)
    pauses = await pauses_of(server, chain, monkeypatch, outage=8, due_in=3)
    assert pauses == [1.0, 2.0, 3, 3, 3, 3, 3, 3]


async def pauses_of(
    server: ScriptedRpc,
    chain: Chain,
    monkeypatch: pytest.MonkeyPatch,
    *,
    outage: int,
    due_in: int | None = None,
) -> list[float]:
    """The pauses after so many polls in an outage, which are not waited for."""
    async with HttpClient() as http:
        rpc = RpcClient(http, [server.url])
        head = HeadTracker(rpc, 0.5)
        await head.poll()
        if due_in is not None:
            head.poll_by(chain.timestamp + due_in)
            monkeypatch.setattr(head, "now", lambda: chain.timestamp)
        server.always = reply(503)
        pauses: list[float] = []

        async def note(pause: float) -> None:
            pauses.append(pause)
            if len(pauses) == outage:
                raise EOFError

        monkeypatch.setattr(head, "_sleep", note)
        with pytest.raises(EOFError):
            await head.run()
        await rpc.close()
    return pauses


async def test_it_starts_without_the_chain(server: ScriptedRpc, chain: Chain) -> None:
    await server.stop()
    async with HttpClient() as http:
        rpc = RpcClient(http, [server.url])
        head = HeadTracker(rpc, 0.01)
        task = asyncio.create_task(head.run())
        await until(lambda: bool(rpc.problem))
        await server.start()
        await until(lambda: head.latest is not None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rpc.close()


async def test_hurry_ends_a_long_pause(
    server: ScriptedRpc, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with HttpClient() as http:
        rpc = RpcClient(http, [server.url])
        head = HeadTracker(rpc, 0.01)
        monkeypatch.setattr(head, "pause", lambda: 3600.0)
        watcher = Curious()
        head.watch(watcher)
        task = asyncio.create_task(head.run())
        await until(lambda: len(watcher.seen) == 1)
        head.poll_soon()
        await until(lambda: len(watcher.seen) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rpc.close()
