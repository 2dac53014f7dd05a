"""Deliveries to a contract of a real EVM with a block each second."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.benchmarks.bench import LONGEST, Bench
from tests.benchmarks.details.onchain import chain_settings, post
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import counters
from tests.support.counting_proxy import CountingProxy
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, Anvil, deploy_v1

_DELIVERIES = 40

LINES = (
    Line("chain.rate", "deliveries/s, 40 at once, blocks of 1 s", "1/s", floor="", more=True),
    Line("chain.requests", "RPC requests per delivery", "", floor=""),
    Line("chain.calls", "RPC calls per delivery", "", floor=""),
    Line("chain.cpu", "CPU per delivery", "ms", floor=""),
)


def measure_chain(bench: Bench) -> list[Row]:
    """Delegated requests, all posted at once, until the last one is answered on the chain.

    Skips as `Anvil` does.
    """
    samples = Samples()
    count = bench.extent.count(_DELIVERIES, 3)
    with ExitStack() as stack:
        anvil = stack.enter_context(Anvil())
        v1 = deploy_v1(anvil)
        consumer = v1.deploy("DelegatedConsumer", ALICE.address)
        anvil.set_block_time(1)
        proxy = stack.enter_context(CountingProxy(anvil.url))
        echo = stack.enter_context(bench.echo())
        settings = {
            "containers": [{"id": "echo", "url": echo.url}],
            "chain": chain_settings(v1, proxy.url),
        }
        node = stack.enter_context(bench.node("chain", settings))
        nonce = 0
        for _ in bench.rounds():
            requests = [request_v1(v1, consumer, nonce=nonce + each + 1) for each in range(count)]
            nonce += count
            before, first = counters(node.pid).cpu, len(proxy.requests)
            begin = time.monotonic()
            for request in requests:
                post(node, request)
            while any(not v1.delegated_id(consumer.address, each.nonce) for each in requests):
                assert time.monotonic() < begin + LONGEST, node.log()[-5000:]
                time.sleep(0.05)
            asked = proxy.requests[first:]
            samples.add("chain.rate", count / (time.monotonic() - begin))
            samples.add("chain.requests", len(asked) / count)
            samples.add("chain.calls", sum(len(each.methods) for each in asked) / count)
            samples.add("chain.cpu", (counters(node.pid).cpu - before) / count * 1e3)
    return samples.rows(LINES)
