"""What following contracts' subscriptions costs, and how soon they are answered.

A real node, a real EVM whose blocks come each second, and a proxy in between that counts what the
node asks. Most subscriptions are for containers that the node does not have.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from infernet_edge.chain.contracts.abi import READ_SUBSCRIPTION_BATCH
from infernet_edge.config.sections.chain import Chain as ChainSettings
from tests.benchmarks.details.onchain import LONGEST, MEBIBYTE, chain_settings
from tests.benchmarks.usage import counters, memory
from tests.support.counting_proxy import Asked, CountingProxy
from tests.support.echo import EchoService
from tests.support.evm import ALICE, COIN, NOBODY, NODE, V1, Anvil, Contract, deploy_v1
from tests.support.node import NodeProcess

DAY = 24 * 3600
LONG = 30 * DAY  # seconds between the intervals of what is followed and not due
SYNCED_WITHIN = 120.0  # seconds
_MAX_REQUESTS = 500  # subscriptions that are made with one request and in one block
_GAS = 400_000  # to make a subscription
_ROOM = 10**9  # gas of a block, so that many can be made at once
_USUAL_ROOM = 30_000_000


class SubscriptionExtent(Struct, frozen=True):
    """How much is measured."""

    subscriptions: int = 10_000  # that are there when the node starts for the first time
    active: int = 500  # those of them that are for this node
    batch_size: int = 500
    settle: float = 12.0  # seconds
    blocks: int = 30  # for which a node is watched that has nothing to do
    restarts: int = 3
    callbacks: int = 15
    due: int = 100  # subscriptions that are due in one block


class Footprint(Struct, frozen=True):
    """Memory in MiB."""

    pss: float
    rss: float


class Snapshot(Struct, frozen=True):
    """From the first question for subscriptions until all are read, without pauses between pages.

    `pages` are HTTP requests that ask the Reader for subscriptions, `calls` the eth_calls in them,
    `requests` all HTTP requests. `slowest_answer` (seconds) is that of /health meanwhile.
    """

    pages: int
    calls: int
    requests: int
    seconds: float
    slowest_answer: float
    footprint: Footprint


class Following(Struct, frozen=True):
    """What a node does while none of the subscriptions that it follows is due.

    `restarts`: seconds from the start of the process until it follows them again.
    """

    blocks: int
    seconds: float
    requests: int
    calls: int
    cpu_percent: float
    footprint: Footprint
    restarts: list[float]


class Due(Struct, frozen=True):
    """Subscriptions that became due in one block, until the last of them was answered.

    `answers` counts deliveries that the coordinator took, `transactions` all that the node made.
    """

    answered: int
    answers: int
    transactions: int
    requests: int
    blocks: int
    seconds: float


class SubscriptionResults(Struct, frozen=True):
    """`callbacks`: seconds from a block that lets a callback be seen until its answer was sent."""

    extent: SubscriptionExtent
    snapshot: Snapshot
    following: Following
    callbacks: list[float]
    due: Due


def measure_subscriptions(
    extent: SubscriptionExtent, folder: Path, say: Callable[[str], None] = print
) -> SubscriptionResults:
    """Start everything, measure, stop everything. Skips or fails as `Anvil` does."""
    with ExitStack() as stack:
        anvil = stack.enter_context(Anvil(arguments=[f"--gas-limit={_ROOM}"]))
        v1 = deploy_v1(anvil)
        _subscribe(v1.deploy("SubscriptionConsumer"), _mixture(extent), period=LONG)
        assert v1.newest_id() == extent.subscriptions
        say(f"{extent.subscriptions} subscriptions made")
        anvil.rpc("evm_setBlockGasLimit", hex(_USUAL_ROOM))
        anvil.mine(ChainSettings().trail_head_blocks)  # all are deep enough to be read
        anvil.set_block_time(1)
        proxy = stack.enter_context(CountingProxy(anvil.url))
        echo = stack.enter_context(EchoService(folder))
        settings = chain_settings(v1, proxy.url)
        settings["snapshot_sync"] = {"sleep": 0, "batch_size": extent.batch_size}
        containers = [{"id": "echo", "url": echo.url}]
        node = NodeProcess(
            {"containers": containers, "chain": settings}, folder / "node", fresh=True
        )
        stack.enter_context(node)
        snapshot = _watch_snapshot(node, proxy)
        say("snapshot")
        restarts = [_restart(node, extent.active) for _ in range(extent.restarts)]
        time.sleep(extent.settle)  # the pace of the blocks is learned
        following = _watch_following(anvil, node, proxy, extent.blocks, restarts)
        say(f"{extent.blocks} blocks with {extent.active} active subscriptions")
        callbacks = _call_back(v1, proxy, extent.callbacks)
        say(f"{extent.callbacks} callbacks")
        due = _become_due(v1, node, proxy, extent.due)
        say(f"{extent.due} due at once")
        return SubscriptionResults(extent, snapshot, following, callbacks, due)


def _mixture(extent: SubscriptionExtent) -> list[str]:
    """The containers of each subscription: those for this node lie evenly among the others."""
    step = extent.subscriptions // extent.active
    return [
        "echo" if number % step == 0 and number // step < extent.active else f"stranger-{number}"
        for number in range(extent.subscriptions)
    ]


def _subscribe(consumer: Contract, containers: list[str], *, period: int) -> None:
    """Make recurring subscriptions, many in a block; their first interval begins after a period.

    Anvil's own account sends them: no signatures have to be made.
    """
    anvil = consumer.anvil
    [sender] = anvil.rpc("eth_accounts")
    anvil.set_automine(False)
    for first in range(0, len(containers), _MAX_REQUESTS):
        price = hex(2 * anvil.block().base_fee + 10**9)
        nonce = anvil.nonce(sender)
        transactions = []
        for number, ids in enumerate(containers[first : first + _MAX_REQUESTS]):
            arguments = (ids, 100, period, 1, False, COIN, 0, NOBODY, NOBODY)
            data = "0x" + consumer.encode("createSubscription", *arguments).hex()
            transaction = {"from": sender, "to": consumer.address, "data": data, "gas": hex(_GAS)}
            transactions.append([transaction | {"gasPrice": price, "nonce": hex(nonce + number)}])
        anvil.batch("eth_sendTransaction", transactions)
        anvil.mine()


def _watch_snapshot(node: NodeProcess, proxy: CountingProxy) -> Snapshot:
    slowest = 0.0
    for _ in _until(lambda: "listener.synced" in node.log(), node, SYNCED_WITHIN):
        begin = time.monotonic()
        assert node.answers()
        slowest = max(slowest, time.monotonic() - begin)
    end = time.monotonic()
    pages = [each for each in proxy.requests if READ_SUBSCRIPTION_BATCH.selector in each.functions]
    asked = [each for each in proxy.requests if each.time >= pages[0].time]
    calls = sum(len(page.functions) for page in pages)
    seconds = end - pages[0].time
    return Snapshot(len(pages), calls, len(asked), seconds, slowest, _footprint(node))


def _footprint(node: NodeProcess) -> Footprint:
    held = memory(node.pid)
    return Footprint(held.pss / MEBIBYTE, held.rss / MEBIBYTE)


def _restart(node: NodeProcess, active: int) -> float:
    """Seconds until the node follows all that it followed before."""
    node.stop()
    written = len(node.log())
    begin = time.monotonic()
    node.launch()
    _wait(lambda: f"followed={active}\n" in node.log()[written:], node)
    seconds = time.monotonic() - begin
    _wait(node.answers, node)
    return seconds


def _watch_following(
    anvil: Anvil, node: NodeProcess, proxy: CountingProxy, blocks: int, restarts: list[float]
) -> Following:
    """Leave the node alone from one block to another."""
    begin = _next_block(anvil)
    used = counters(node.pid)
    time.sleep(max(0, blocks - 2))
    end = _next_block(anvil)
    while anvil.block().number < begin.number + blocks:
        end = _next_block(anvil)
    cpu = (counters(node.pid) - used).cpu
    asked = [each for each in proxy.requests if begin.time <= each.time < end.time]
    return Following(
        end.number - begin.number,
        end.time - begin.time,
        len(asked),
        sum(len(each.methods) for each in asked),
        100 * cpu / (end.time - begin.time),
        _footprint(node),
        restarts,
    )


class _Seen(Struct, frozen=True):
    """A block, and when it was seen, by the steady clock."""

    number: int
    time: float


def _next_block(anvil: Anvil) -> _Seen:
    before = anvil.block().number
    _wait(lambda: anvil.block().number > before)
    return _Seen(anvil.block().number, time.monotonic())


def _call_back(v1: V1, proxy: CountingProxy, callbacks: int) -> list[float]:
    """One callback after the other, asked for at all moments between two blocks."""
    consumer = v1.deploy("CallbackConsumer")
    return [_answer_time(consumer, proxy, number / callbacks) for number in range(callbacks)]


def _answer_time(consumer: Contract, proxy: CountingProxy, moment: float) -> float:
    """Seconds from the block that lets a callback be seen until its answer is sent.

    It is asked for `moment` seconds after a block.
    """
    anvil = consumer.anvil
    answered = consumer.call("deliveryCount")
    _next_block(anvil)
    time.sleep(moment)
    first = len(proxy.requests)
    arguments = ("echo", b"\x01", 1, COIN, 0, NOBODY, NOBODY)
    created = consumer.send("requestCompute", *arguments, sender=ALICE)
    deep = created.block + ChainSettings().trail_head_blocks
    _wait(lambda: anvil.block().number >= deep)
    begin = time.monotonic()
    _wait(lambda: _sent(proxy.requests[first:]))
    _wait(lambda: consumer.call("deliveryCount") > answered)
    return _sent(proxy.requests[first:])[0].time - begin


def _sent(requests: list[Asked]) -> list[Asked]:
    return [each for each in requests if "eth_sendRawTransaction" in each.methods]


def _become_due(v1: V1, node: NodeProcess, proxy: CountingProxy, due: int) -> Due:
    """Make subscriptions, and let a day go by in one block, in which all become due."""
    consumer, anvil = v1.deploy("SubscriptionConsumer"), v1.anvil
    first_id, written = v1.newest_id() + 1, len(node.log())
    _subscribe(consumer, ["echo"] * due, period=DAY)
    anvil.set_block_time(1)
    _wait(lambda: node.log().count("subscription.found", written) == due, node)
    made, asked = anvil.nonce(NODE.address), len(proxy.requests)
    anvil.increase_time(DAY)
    begin = _Seen(anvil.block().number, time.monotonic())
    _wait(lambda: consumer.call("deliveryCount") >= due, node, SYNCED_WITHIN)
    seconds, blocks = time.monotonic() - begin.time, anvil.block().number - begin.number
    requests = len(proxy.requests) - asked
    for _ in range(3):
        _next_block(anvil)  # one that is answered twice would be so soon
    answers = [each["id"] for each in v1.fulfilled() if each["id"] >= first_id]
    transactions = anvil.nonce(NODE.address) - made
    return Due(len(set(answers)), len(answers), transactions, requests, blocks, seconds)


def _wait(
    condition: Callable[[], object], node: NodeProcess | None = None, within: float = LONGEST
) -> None:
    for _ in _until(condition, node, within):
        time.sleep(0.005)


def _until(
    condition: Callable[[], object], node: NodeProcess | None, within: float
) -> Iterator[None]:
    """Go on until something is so; an AssertionError with the node's log when that takes long."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, node.log() if node else "it does not happen"
        yield


def subscription_table(results: SubscriptionResults) -> str:
    """The results for people, with the goals for the usual extent."""
    extent, snapshot, following = results.extent, results.snapshot, results.following
    callbacks, due = sorted(results.callbacks), results.due
    rows = [
        (f"snapshot of {extent.subscriptions}: requests to the Reader", "<= 20", snapshot.pages),
        ("  eth_calls in them", "", snapshot.calls),
        ("  all RPC requests meanwhile", "", snapshot.requests),
        ("  time, s", "", snapshot.seconds),
        ("  slowest answer of /health meanwhile, s", "", snapshot.slowest_answer),
        ("  memory after it, PSS, MiB", "", snapshot.footprint.pss),
        (
            f"{extent.active} active: RPC requests per block",
            "<= 2",
            following.requests / following.blocks,
        ),
        ("  calls per block", "", following.calls / following.blocks),
        ("  CPU, percent of a core", "< 2", following.cpu_percent),
        ("  memory, PSS, MiB", "", following.footprint.pss),
        ("  memory, RSS, MiB", "< 100", following.footprint.rss),
        ("  restart until they are followed, s", "", statistics.median(following.restarts)),
        ("callback: deep enough to sent, p50, s", "", statistics.median(callbacks)),
        ("  p90, s", "", callbacks[round(0.9 * (len(callbacks) - 1))]),
        ("  most, s", "< 1", callbacks[-1]),
        (f"{extent.due} due in one block: answered", str(extent.due), due.answered),
        ("  transactions", str(extent.due), due.transactions),
        ("  RPC requests per delivery", "", due.requests / extent.due),
        ("  until the last one is mined, blocks", "", due.blocks),
        ("  until the last one is mined, s", "", due.seconds),
    ]
    lines = [("", "goal", "node"), *((title, goal, _number(value)) for title, goal, value in rows)]
    return "\n".join(f"{title:<48}{goal:>8}{value:>10}" for title, goal, value in lines)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"
