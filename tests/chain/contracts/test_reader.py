"""Pages of subscriptions: they shrink and grow, and what is no page is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from infernet_edge.chain.contracts.abi import READ_SUBSCRIPTION_BATCH, READER
from infernet_edge.chain.contracts.reader import SubscriptionReader
from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.config.sections.chain import Chain
from infernet_edge.http_client.client import HttpClient
from tests.support.asking import call_back
from tests.support.counting_proxy import CountingProxy
from tests.support.evm import NOBODY, OTHER_NODE, V1, Contract
from tests.support.faulty_rpc import Answers, FaultyRpc
from tests.support.serving import serving


@pytest.fixture
def consumer(v1: V1) -> Contract:
    made = v1.deploy("CallbackConsumer")
    for _ in range(5):
        call_back(v1, made)
    return made


@pytest.fixture
async def rpc(v1: V1) -> AsyncIterator[RpcClient]:
    async with HttpClient() as http:
        yield RpcClient(http, [v1.anvil.url])


def pages_of(v1: V1, rpc: RpcClient, size: int) -> SubscriptionReader:
    return SubscriptionReader(
        rpc, Deployment(Chain(registry_address=v1.registry.address), rpc), size
    )


async def test_a_page_holds_what_exists(v1: V1, rpc: RpcClient, consumer: Contract) -> None:
    newest = v1.anvil.block().number
    page = await pages_of(v1, rpc, 4).read(1, 100, newest)
    assert page.next_id == 6
    assert [each.owner for each in page.subscriptions] == [consumer.address] * 4
    assert page.answers == [0] * 4
    rest = await pages_of(v1, rpc, 4).read(5, 100, newest)
    assert len(rest.subscriptions) == 1
    assert (await pages_of(v1, rpc, 4).read(6, 0, newest)).subscriptions == []


async def test_it_is_as_the_block_has_it(v1: V1, rpc: RpcClient, consumer: Contract) -> None:
    before = v1.anvil.block().number - 2
    page = await pages_of(v1, rpc, 9).read(1, 100, before)
    assert (page.next_id, len(page.subscriptions)) == (4, 3)


async def test_a_block_that_the_server_has_not_is_waited_for(v1: V1, rpc: RpcClient) -> None:
    with pytest.raises(RpcUnavailable):
        await pages_of(v1, rpc, 9).read(1, 100, v1.anvil.block().number + 100)


async def test_pages_grow_again(v1: V1, rpc: RpcClient, consumer: Contract) -> None:
    pages = pages_of(v1, rpc, 4)
    pages._size = 1  # noqa: SLF001 - as after refusals
    newest = v1.anvil.block().number
    for _ in range(8):
        assert len((await pages.read(1, 100, newest)).subscriptions) == 1
    assert len((await pages.read(1, 100, newest)).subscriptions) == 2
    for _ in range(20):
        await pages.read(1, 100, newest)
    assert len((await pages.read(1, 100, newest)).subscriptions) == 4


async def test_a_reader_of_another_kind_is_reported(v1: V1, rpc: RpcClient) -> None:
    deployment = Deployment(Chain(registry_address=v1.registry.address), rpc)
    deployment._others[READER] = v1.fee.address  # noqa: SLF001 - not a reader
    with pytest.raises(RpcUnavailable):
        await SubscriptionReader(rpc, deployment, 5).read(1, 5, v1.anvil.block().number)


async def test_one_request_for_a_page(v1: V1, consumer: Contract) -> None:
    with CountingProxy(v1.anvil.url) as proxy:
        async with HttpClient() as http:
            rpc = RpcClient(http, [proxy.url])
            pages = pages_of(v1, rpc, 500)
            await pages.read(1, 100, v1.anvil.block().number)
            before = len(proxy.requests)
            await pages.read(1, 100, v1.anvil.block().number)
            assert len(proxy.requests) == before + 1


async def test_subscriptions_are_read_again_in_few_calls(
    v1: V1, rpc: RpcClient, consumer: Contract
) -> None:
    newest = v1.anvil.block().number
    with CountingProxy(v1.anvil.url) as proxy:
        async with HttpClient() as http:
            reader = pages_of(v1, RpcClient(http, [proxy.url]), 3)
            found = await reader.read_again([1, 3, 5], 9, newest)
            assert sorted(found) == [1, 3, 5]
            assert {each.owner for each in found.values()} == {consumer.address}
            assert sorted(await reader.read_again([1, 3, 4, 5], 1, newest)) == [1, 3]
        called = [each for asked in proxy.requests for each in asked.functions]
        assert called.count(READ_SUBSCRIPTION_BATCH.selector) == 3


async def test_those_that_a_block_does_not_have_are_found_to_be_missing(
    v1: V1, rpc: RpcClient, consumer: Contract
) -> None:
    found = await pages_of(v1, rpc, 9).read_again([1, 77], 4, v1.anvil.block().number)
    assert [each.exists for each in found.values()] == [True, False]


async def test_pages_that_are_read_again_shrink_too(v1: V1, consumer: Contract) -> None:
    proxy = FaultyRpc(v1.anvil.url)

    async def too_large(proxy: FaultyRpc, request: web.Request, asked: Answers) -> web.Response:
        proper = await proxy.proper(asked)
        for question, each in zip(asked, proper, strict=True):
            if len(str(each.get("result"))) > 3 * 704 + 200 and question["method"] == "eth_call":
                del each["result"]
                each["error"] = {"code": -32000, "message": "response is too large"}
        return web.json_response(proper[0] if len(proper) == 1 else proper)

    proxy.fault = too_large
    async with serving(proxy) as url, HttpClient() as http:
        reader = pages_of(v1, RpcClient(http, [url]), 5)
        found = await reader.read_again([1, 2, 3, 4, 5], 1, v1.anvil.block().number)
        assert sorted(found) == [1, 2]
        assert reader.page_size == 2


async def test_counts_of_many_intervals_are_one_call(
    v1: V1, rpc: RpcClient, consumer: Contract
) -> None:
    answer_elsewhere(v1, 2)
    reader, newest = pages_of(v1, rpc, 4), v1.anvil.block().number
    assert await reader.read_counts([(1, 1), (2, 1), (2, 2)], newest) == [0, 1, 0]
    assert await reader.read_counts([(2, 1)], newest - 1) == [0]
    many = [(each, 1) for each in range(1, 10)]
    assert await reader.read_counts(many, newest) == [0, 1, 0, 0]


def answer_elsewhere(v1: V1, identifier: int) -> None:
    """Answer an interval as another node."""
    arguments = (identifier, 1, b"", b"\x01", b"", NOBODY)
    v1.coordinator.send("deliverCompute", *arguments, sender=OTHER_NODE)
