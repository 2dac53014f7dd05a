"""Each form in which servers refuse, and the node's client of JSON-RPC alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from infernet_edge.chain.rpc.client import Call, RpcClient
from infernet_edge.http_client.client import HttpClient
from tests.support.evm import ALICE, ETHER, NODE, Anvil
from tests.support.rpc_behaviours import (
    BATCH_REFUSALS,
    METHOD_REFUSALS,
    PARTIAL_REFUSALS,
    RATE_REFUSALS,
    Behaviour,
)
from tests.support.rpc_proxy import RpcProxy

PAYMENT = {"from": NODE.address, "to": ALICE.address, "value": "0x1"}


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http:
        yield http


def balances(anvil: Anvil, count: int) -> tuple[list[Call], list[str]]:
    """Calls for so many balances, and their answers."""
    addresses = [f"0x{number + 1:040x}" for number in range(count)]
    for number, address in enumerate(addresses):
        anvil.set_balance(address, ETHER + number)
    calls: list[Call] = [("eth_getBalance", [address, "latest"]) for address in addresses]
    return calls, [hex(ETHER + number) for number in range(count)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.parametrize("form", [*BATCH_REFUSALS, *PARTIAL_REFUSALS])
async def test_large_batches_are_answered_in_smaller_ones(
    anvil: Anvil, http: HttpClient, form: str, limit: int
) -> None:
    calls, expected = balances(anvil, 20)
    async with RpcProxy(anvil.url, Behaviour(max_batch=limit, batch_refusal=form)) as proxy:
        client = RpcClient(http, [proxy.url])
        async with asyncio.timeout(20):
            assert await client.batch(calls) == expected
            proxy.clear()
            assert await client.batch(calls) == expected
        refused = sum(request.refused for request in proxy.requests)
        assert refused <= 1, "the size that worked is not remembered"  # one try to grow
        assert client.problem == ""
        await client.close()


# As it looks, the server fails.
_UNCLEAR = ("503_html", "closed")


@pytest.mark.parametrize(
    ("form", "counts_calls"),
    [
        *((form, False) for form in (*RATE_REFUSALS, "per_item")),
        *((form, True) for form in ("alchemy", "proxyd", "200_list", "per_item")),
    ],
)
async def test_calls_wait_for_a_limit_of_the_rate(
    anvil: Anvil, http: HttpClient, form: str, counts_calls: bool
) -> None:
    calls, expected = balances(anvil, 6)
    behaviour = Behaviour(
        requests_per_second=20, burst=6, counts_calls=counts_calls, rate_refusal=form
    )
    async with RpcProxy(anvil.url, behaviour) as proxy:
        client = RpcClient(http, [proxy.url])
        async with asyncio.timeout(40):
            answers = await asyncio.gather(*(client.batch(calls) for _ in range(8)))
        assert answers == [expected] * 8
        await client.close()


@pytest.mark.parametrize("form", METHOD_REFUSALS)
async def test_what_one_server_does_not_offer_is_asked_of_the_next(
    anvil: Anvil, http: HttpClient, form: str
) -> None:
    poor = Behaviour(refused_methods=frozenset({"eth_estimateGas"}), method_refusal=form)
    async with RpcProxy(anvil.url, poor) as first, RpcProxy(anvil.url) as second:
        client = RpcClient(http, [first.url, second.url])
        async with asyncio.timeout(20):
            assert await client.call("eth_estimateGas", [PAYMENT]) == hex(21_000)
        assert second.counts["eth_estimateGas"] == 1
        await client.close()


@pytest.mark.parametrize("form", RATE_REFUSALS)
async def test_what_one_server_does_not_take_now_goes_to_the_next(
    anvil: Anvil, http: HttpClient, form: str
) -> None:
    """Its limit is used up for long."""
    full = Behaviour(requests_per_second=0.001, burst=2, rate_refusal=form)
    async with RpcProxy(anvil.url, full) as first, RpcProxy(anvil.url) as second:
        client = RpcClient(http, [first.url, second.url])
        async with asyncio.timeout(12):
            for _ in range(4):
                assert await client.call("eth_estimateGas", [PAYMENT]) == hex(21_000)
        assert second.counts["eth_estimateGas"] >= 2
        await client.close()


@pytest.mark.parametrize("form", [form for form in RATE_REFUSALS if form not in _UNCLEAR])
async def test_a_refused_transaction_goes_to_the_next_server(
    anvil: Anvil, http: HttpClient, form: str
) -> None:
    """It was refused, so it had no effect there."""
    full = Behaviour(requests_per_second=0.001, burst=2, rate_refusal=form)
    async with RpcProxy(anvil.url, full) as first, RpcProxy(anvil.url) as second:
        client = RpcClient(http, [first.url, second.url])
        async with asyncio.timeout(10):
            for _ in range(4):
                assert await client.call_once("eth_estimateGas", [PAYMENT]) == hex(21_000)
        assert second.counts["eth_estimateGas"] >= 2
        await client.close()
