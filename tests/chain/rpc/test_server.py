"""Requests to servers that refuse them, in the forms that public servers use."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.http_client.client import HttpClient
from tests.support.rpc_behaviours import (
    BATCH_REFUSALS,
    PARTIAL_REFUSALS,
    RATE_REFUSALS,
    Behaviour,
)
from tests.support.rpc_proxy import RpcProxy
from tests.support.scripted_rpc import Fault, RpcFault, ScriptedRpc, hang_up, reply, silence

FORMS = [*BATCH_REFUSALS, *PARTIAL_REFUSALS]


@pytest.fixture
async def target() -> AsyncIterator[ScriptedRpc]:
    async with ScriptedRpc() as target:
        target.results["echo"] = lambda *params: list(params)
        yield target


@pytest.fixture
async def proxy(target: ScriptedRpc) -> AsyncIterator[RpcProxy]:
    async with RpcProxy(target.url) as proxy:
        yield proxy


@pytest.fixture
async def rpc(proxy: RpcProxy) -> AsyncIterator[RpcClient]:
    async with HttpClient() as http:
        rpc = RpcClient(http, [proxy.url], timeout=30)  # for a busy machine
        yield rpc
        await rpc.close()


@pytest.fixture
async def direct(target: ScriptedRpc) -> AsyncIterator[RpcClient]:
    """A client of the target, without the proxy."""
    async with HttpClient() as http:
        rpc = RpcClient(http, [target.url])
        yield rpc
        await rpc.close()


def echoes(count: int, first: int = 0) -> list[tuple[str, list[Any]]]:
    return [("echo", [n]) for n in range(first, first + count)]


@pytest.mark.parametrize("form", FORMS)
async def test_batches_that_are_refused_in_any_form(
    rpc: RpcClient, proxy: RpcProxy, form: str
) -> None:
    chance = random.Random(form)
    for _ in range(3):
        proxy.behaviour = Behaviour(max_batch=chance.choice((1, 2, 3, 7, 20)), batch_refusal=form)
        for _ in range(3):
            sizes = [chance.randint(1, 60) for _ in range(4)]
            found = await asyncio.gather(*(rpc.batch(echoes(size, size)) for size in sizes))
            assert found == [[[n] for n in range(size, 2 * size)] for size in sizes]
        assert rpc.problem == rpc.servers()[0].problem == ""
        proxy.clear()
        assert await rpc.batch(echoes(20)) == [[n] for n in range(20)]
        assert sum(request.refused for request in proxy.requests) <= 1, "the size is remembered"
        assert proxy.counts["echo"] <= 2 * 20


@pytest.mark.parametrize("form", FORMS)
async def test_a_batch_of_a_size_that_was_never_accepted(
    rpc: RpcClient, proxy: RpcProxy, form: str
) -> None:
    proxy.behaviour = Behaviour(max_batch=3, batch_refusal=form)
    assert await rpc.batch(echoes(100)) == [[n] for n in range(100)]
    assert sum(request.refused for request in proxy.requests) <= 12


@pytest.mark.parametrize("form", [*RATE_REFUSALS, "per_item"])
async def test_callers_wait_where_the_rate_is_limited(
    rpc: RpcClient, proxy: RpcProxy, form: str
) -> None:
    proxy.behaviour = Behaviour(requests_per_second=30, max_batch=10, rate_refusal=form)
    assert await rpc.batch(echoes(10)) == [[n] for n in range(10)]
    found = await asyncio.gather(*(rpc.batch(echoes(5, n)) for n in range(60)))
    assert found == [[[m] for m in range(n, n + 5)] for n in range(60)]
    assert proxy.counts["echo"] < 1.5 * 310, "calls that wait go together"
    refused = sum(request.refused for request in proxy.requests)
    assert refused <= 0.4 * len(proxy.requests), "a short test, which begins with a burst"


@pytest.mark.parametrize("form", ["429", "200_list", "per_item"])
async def test_limits_that_count_calls(rpc: RpcClient, proxy: RpcProxy, form: str) -> None:
    proxy.behaviour = Behaviour(
        requests_per_second=100, burst=20, counts_calls=True, rate_refusal=form
    )
    found = await asyncio.gather(*(rpc.batch(echoes(50, n)) for n in range(4)))
    assert found == [[[m] for m in range(n, n + 50)] for n in range(4)]


async def test_what_was_answered_is_not_asked_again(direct: RpcClient, target: ScriptedRpc) -> None:
    answered: list[int] = []

    async def first_four(request: Any, asked: Any) -> Any:
        error = {"code": -32005, "message": "limit exceeded"}
        answers = [target.answer(each) for each in asked[:4]]
        answers += [{"jsonrpc": "2.0", "id": each["id"], "error": error} for each in asked[4:]]
        answered.extend(each["params"][0] for each in asked[:4] if each["method"] == "echo")
        return aiohttp.web.json_response(answers if len(answers) > 1 else answers[0])

    await direct.call("echo", [0])
    target.always = first_four
    assert await direct.batch(echoes(12)) == [[n] for n in range(12)]
    assert answered == list(range(12))


async def test_a_call_that_fails_the_whole_request_fails_alone(
    direct: RpcClient, target: ScriptedRpc
) -> None:
    async def without_poison(request: Any, asked: Any) -> Any:
        if any(each["method"] == "poison" for each in asked):
            return aiohttp.web.Response(status=500, text="oh")
        answers = [target.answer(each) for each in asked]
        return aiohttp.web.json_response(answers if len(answers) > 1 else answers[0])

    await direct.batch(echoes(32))
    target.always = without_poison
    calls = echoes(32)
    calls[11] = ("poison", [])
    answers = await direct.batch(calls)
    failed = answers.pop(11)
    assert answers == [[n] for n in range(32) if n != 11]
    assert isinstance(failed, RpcError)
    assert failed.is_transient
    assert direct.problem == ""
    with pytest.raises(RpcUnavailable, match="status 500"):
        await direct.call("poison", [])
    target.requests.clear()
    assert len(await direct.batch(echoes(32))) == 32
    assert len(target.requests) <= 2, "the size is as before"


async def test_an_error_of_many_calls_is_theirs_when_one_alone_gets_it(
    direct: RpcClient, target: ScriptedRpc
) -> None:
    def fail(*params: Any) -> Any:
        raise RpcFault({"code": -32000, "message": "header not found"})

    target.results["eth_call"] = fail
    for _ in range(3):
        answers = await direct.batch([("eth_call", [n]) for n in range(20)])
        assert {str(answer) for answer in answers} == {"header not found (code -32000)"}
    assert len(target.requests) == 4, "one of them was asked alone, once"


async def test_calls_with_an_effect_are_made_once_at_a_server_with_a_rate(
    direct: RpcClient, target: ScriptedRpc
) -> None:
    chance = random.Random(7)
    effects: list[int] = []
    together = 0

    async def unreliable(request: Any, asked: Any) -> Any:
        nonlocal together
        kind = chance.random()
        if kind < 0.15:
            return aiohttp.web.Response(status=429)
        effects.extend(each["params"][0] for each in asked if each["method"] == "send")
        together = max(together, sum(each["method"] == "send" for each in asked))
        if kind < 0.3 and any(each["method"] == "send" for each in asked):
            return await hang_up(request, asked)
        answers = [target.answer(each) for each in asked]
        return aiohttp.web.json_response(answers if len(answers) > 1 else answers[0])

    target.results["send"] = lambda n: f"0x{n:02x}"
    await direct.batch(echoes(20))
    target.faults.append(reply(429))
    await direct.batch(echoes(20))
    target.always = unreliable
    sent = await asyncio.gather(
        *(direct.call_once("send", [n]) for n in range(60)), return_exceptions=True
    )
    assert len(effects) == len(set(effects))
    for n, answer in enumerate(sent):
        assert answer == f"0x{n:02x}" or isinstance(answer, RpcUnavailable)
        assert n in effects or isinstance(answer, RpcUnavailable)
    assert together > 1, "those that wait go together"


@pytest.mark.parametrize("fault", [silence, reply(502), hang_up])
async def test_an_unreliable_server_is_not_asked_less(
    direct: RpcClient, target: ScriptedRpc, fault: Fault
) -> None:
    """Requests that fail although few are made are not refused for their rate."""
    for n in range(20):  # its usual time is known
        assert await direct.call("echo", [n]) == [n]
    await asyncio.sleep(1.2)
    assert await direct.call("echo", [0]) == [0]
    target.faults = [fault, fault]  # for the call, and the check of the chain
    assert await direct.call("echo", [1]) == [1]
    began = asyncio.get_running_loop().time()
    for n in range(50):
        assert await direct.call("echo", [n]) == [n]
    assert asyncio.get_running_loop().time() - began < 5  # at the lowest rate it takes 10


async def test_polls_of_the_head_go_first(rpc: RpcClient, proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(requests_per_second=10, burst=1, max_batch=1)
    await rpc.call("echo", [0])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):  # finds the rate and the size
            await rpc.batch(echoes(100))
    waiting = [asyncio.create_task(rpc.call("echo", [n])) for n in range(100)]
    await asyncio.sleep(0.1)
    proxy.clear()
    for _ in range(3):
        await rpc.batch([("eth_chainId", [])], priority=True)
    assert len(proxy.requests) <= 12
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_callers_that_leave_are_not_asked_for(rpc: RpcClient, proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(requests_per_second=5, burst=5, max_batch=1)
    await rpc.call("echo", [0])
    leaving = [asyncio.create_task(rpc.call("echo", [n])) for n in range(200)]
    staying = asyncio.create_task(rpc.call("echo", [1000]))
    await asyncio.sleep(1)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    proxy.clear()
    assert await staying == [1000]
    assert proxy.counts["echo"] <= 2


async def test_too_many_callers_are_refused(
    rpc: RpcClient, proxy: RpcProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.chain.rpc.waiting.MAX_WAITING", 50)
    with pytest.raises(RpcUnavailable, match="calls wait"):
        await rpc.batch(echoes(51))


async def test_requests_at_once_are_limited(direct: RpcClient, target: ScriptedRpc) -> None:
    running = most = 0

    async def count(request: Any, asked: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        answers = [target.answer(each) for each in asked]
        return aiohttp.web.json_response(answers if len(answers) > 1 else answers[0])

    await direct.call("echo", [0])
    target.always = count
    proxied = [direct.batch(echoes(1), priority=n % 10 == 0) for n in range(100)]
    assert len(await asyncio.gather(*proxied)) == 100
    assert most <= 16


async def test_closing_ends_what_waits(rpc: RpcClient, proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(hang_share=1.0)
    before = asyncio.all_tasks()
    waiting = [asyncio.create_task(rpc.call("echo", [n])) for n in range(50)]
    await asyncio.sleep(0.1)
    await rpc.close()
    for task in waiting:
        with pytest.raises(RpcUnavailable):
            await task
    await asyncio.sleep(0.1)
    names = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not any(name.startswith("rpc") for name in names)
