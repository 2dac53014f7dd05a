"""What the on-chain half costs and how fast it delivers: a real node and a real EVM.

Blocks come each second. A proxy in front of the EVM counts what the node asks.
"""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak
from msgspec import Struct

from tests.benchmarks.usage import counters, memory
from tests.support.counting_proxy import CountingProxy
from tests.support.delegated import Delegated, request_v1
from tests.support.echo import EchoService
from tests.support.evm import ALICE, NODE, V1, Anvil, Contract, deploy_v1
from tests.support.node import NodeProcess

MEBIBYTE = 2**20
FAR = 10**6  # seconds until a delivery that only waits
LONGEST = 30.0  # seconds that one thing may take
SUBSCRIPTION_CREATED = "0x" + keccak(text="SubscriptionCreated(uint32)").hex()


class ChainExtent(Struct, frozen=True):
    """How much is measured. Times in seconds."""

    starts: int = 5
    settle: float = 12.0
    watched: float = 20.0  # of idling, and of waiting
    waiting: int = 100  # deliveries that wait for their time
    deliveries: int = 20


class Idling(Struct, frozen=True):
    """What a node does that has nothing to do."""

    start_seconds: float
    pss_mebibytes: float
    rss_mebibytes: float
    cpu_percent: float


class Asking(Struct, frozen=True):
    """HTTP requests to the RPC over some time; `most_in_a_second` of any second."""

    per_second: float
    most_in_a_second: int
    methods: list[str]


class Deliveries(Struct, frozen=True):
    """From the answer to POST to the block with the delivery; the container answers at once.

    In `blocks`, 1 is the block that came next.
    """

    blocks: list[int]
    seconds: list[float]
    requests_each: float


class ChainResults(Struct, frozen=True):
    """A node with the chain off and one with it on."""

    extent: ChainExtent
    off: Idling
    on: Idling
    idle: Asking
    waiting: Asking
    delivered: Deliveries


def measure_chain(
    extent: ChainExtent, folder: Path, say: Callable[[str], None] = print
) -> ChainResults:
    """Start everything, measure, stop everything. Skips or fails as `Anvil` does."""
    with ExitStack() as stack:
        anvil = stack.enter_context(Anvil())
        v1 = deploy_v1(anvil)
        consumer = v1.deploy("DelegatedConsumer", ALICE.address)
        anvil.set_block_time(1)
        proxy = stack.enter_context(CountingProxy(anvil.url))
        echo = stack.enter_context(EchoService(folder))
        containers = [{"id": "echo", "url": echo.url}]
        off = NodeProcess({"containers": containers}, folder / "off", fresh=True)
        on = NodeProcess(
            {"containers": containers, "chain": chain_settings(v1, proxy.url)},
            folder / "on",
            fresh=True,
        )
        starts: dict[str, list[float]] = {"off": [], "on": []}
        for _ in range(extent.starts):
            for name, node in (("off", off), ("on", on)):
                starts[name].append(node.start())
                node.stop()
        say(f"{extent.starts} starts of each")
        stack.enter_context(off)
        stack.enter_context(on)
        time.sleep(extent.settle)  # the pace of the blocks is learned
        usage, idle = _watch({"off": off, "on": on}, extent.watched, proxy)
        say(f"{extent.watched:.0f} s idle")
        for nonce in range(1, extent.waiting + 1):
            post(on, request_v1(v1, consumer, nonce=nonce, activeAt=anvil.now() + FAR))
        time.sleep(extent.settle / 4)
        _, waiting = _watch({"on": on}, extent.watched, proxy)
        say(f"{extent.watched:.0f} s with {extent.waiting} deliveries that wait")
        delivered = _deliver(v1, consumer, on, proxy, extent)
        say(f"{extent.deliveries} deliveries")
        figures = {
            name: Idling(statistics.median(starts[name]), *usage[name]) for name in ("off", "on")
        }
        return ChainResults(extent, figures["off"], figures["on"], idle, waiting, delivered)


def chain_settings(v1: V1, rpc_url: str) -> dict[str, Any]:
    """Settings of the chain; all else is as a user has it."""
    return {
        "enabled": True,
        "rpc_url": rpc_url,
        "registry_address": v1.registry.address,
        "wallet": {"private_key": NODE.key.hex()},
    }


def _watch(
    nodes: dict[str, NodeProcess], seconds: float, proxy: CountingProxy
) -> tuple[dict[str, tuple[float, float, float]], Asking]:
    """Leave nodes alone; each one's PSS and RSS (MiB) and CPU (percent), and what was asked."""
    before = {name: counters(node.pid) for name, node in nodes.items()}
    first, begin = len(proxy.requests), time.monotonic()
    time.sleep(seconds)
    passed, asked = time.monotonic() - begin, proxy.requests[first:]
    usage = {}
    for name, node in nodes.items():
        cpu = (counters(node.pid) - before[name]).cpu
        held = memory(node.pid)
        usage[name] = (held.pss / MEBIBYTE, held.rss / MEBIBYTE, 100 * cpu / passed)
    moments = [each.time for each in asked]
    most = max((sum(t <= u < t + 1 for u in moments) for t in moments), default=0)
    methods = sorted({method for each in asked for method in each.methods})
    return usage, Asking(len(asked) / passed, most, methods)


def _deliver(
    v1: V1, consumer: Contract, node: NodeProcess, proxy: CountingProxy, extent: ChainExtent
) -> Deliveries:
    """One delivery after the other, posted at all moments between two blocks."""
    blocks, seconds = [], []
    first = len(proxy.requests)
    for number in range(extent.deliveries):
        time.sleep(number / extent.deliveries)
        request = request_v1(v1, consumer, nonce=extent.waiting + 1 + number)
        post(node, request)
        begin, before = time.monotonic(), v1.anvil.block().number
        while (found := v1.delegated_id(consumer.address, request.nonce)) == 0:
            assert time.monotonic() < begin + LONGEST, node.log()
            time.sleep(0.005)
        seconds.append(time.monotonic() - begin)
        blocks.append(_created_in(v1, found) - before)
    return Deliveries(blocks, seconds, (len(proxy.requests) - first) / extent.deliveries)


def _created_in(v1: V1, identifier: int) -> int:
    """The block in which a subscription came to be, which its first delivery does."""
    for log in v1.anvil.logs(v1.coordinator.address):
        if log["topics"][0] == SUBSCRIPTION_CREATED and int(log["topics"][1], 16) == identifier:
            return int(log["blockNumber"], 16)
    raise AssertionError(f"subscription {identifier} was never created")


def post(node: NodeProcess, request: Delegated) -> None:
    """Hand a request to the node. Raises AssertionError when it is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=LONGEST)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/api/jobs", json.dumps(request.body), headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


def chain_table(results: ChainResults) -> str:
    """The results for people."""
    off, on, delivered = results.off, results.on, results.delivered
    lines = [f"{'':<38}{'chain off':>10}{'chain on':>10}"]
    for title, name in (
        ("start to first answer, s", "start_seconds"),
        ("idle memory, PSS, MiB", "pss_mebibytes"),
        ("idle memory, RSS, MiB", "rss_mebibytes"),
        ("idle CPU, percent of a core", "cpu_percent"),
    ):
        lines.append(f"{title:<38}{getattr(off, name):>10.2f}{getattr(on, name):>10.2f}")
    for title, asking in (
        ("RPC requests/s, idle", results.idle),
        (f"RPC requests/s, {results.extent.waiting} wait", results.waiting),
    ):
        lines.append(f"{title:<38}{'':>10}{asking.per_second:>10.2f}")
        lines.append(f"{'  most in one second':<38}{'':>10}{asking.most_in_a_second:>10}")
    spread = f"{statistics.median(delivered.blocks):.0f} ({max(delivered.blocks)})"
    seconds = f"{statistics.median(delivered.seconds):.2f} ({max(delivered.seconds):.2f})"
    lines.append(f"{'POST to delivery, blocks, p50 (most)':<38}{'':>10}{spread:>10}")
    lines.append(f"{'POST to delivery, s, p50 (most)':<38}{'':>6}{seconds:>14}")
    lines.append(f"{'RPC requests per delivery':<38}{'':>10}{delivered.requests_each:>10.1f}")
    return "\n".join(lines)
