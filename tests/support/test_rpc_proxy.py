"""The proxy does what servers do: each behaviour is seen by a plain HTTP client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.evm import ALICE, NODE, Anvil
from tests.support.rpc_behaviours import (
    BATCH_REFUSALS,
    GAPPED_NONCE,
    IN_FLIGHT_LIMIT,
    PARTIAL_REFUSALS,
    PENDING_REFUSALS,
    RATE_REFUSALS,
    Behaviour,
    Budget,
)
from tests.support.rpc_proxy import RpcProxy

GWEI = 10**9


@pytest.fixture
async def proxy(anvil: Anvil) -> AsyncIterator[RpcProxy]:
    async with RpcProxy(anvil.url) as proxy:
        yield proxy


def call(method: str, *params: Any, identifier: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": list(params)}


async def post(proxy: RpcProxy, content: Any) -> tuple[int, bytes, Any]:
    """Status, body, and what the body says when it is JSON."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(proxy.url, json=content, allow_redirects=False) as response,
    ):
        body = await response.read()
        is_json = body and response.content_type == "application/json"
        return response.status, body, await response.json() if is_json else None


async def result(proxy: RpcProxy, method: str, *params: Any) -> Any:
    """The result of one call; of an error its message."""
    _, _, reply = await post(proxy, call(method, *params))
    return reply["error"]["message"] if "error" in reply else reply["result"]


def some(count: int) -> list[dict[str, Any]]:
    return [call("eth_chainId", identifier=7 + number) for number in range(count)]


async def test_all_is_handed_on_and_counted(proxy: RpcProxy) -> None:
    status, _, replies = await post(proxy, [*some(2), call("eth_blockNumber", identifier=1)])
    assert status == 200
    assert [reply["id"] for reply in replies] == [7, 8, 1]
    assert await result(proxy, "eth_chainId") == "0x7a69"
    assert [request.methods for request in proxy.requests] == [
        ("eth_chainId", "eth_chainId", "eth_blockNumber"),
        ("eth_chainId",),
    ]
    assert proxy.counts == {"eth_chainId": 3, "eth_blockNumber": 1}
    assert (proxy.refused_share, proxy.peak) == (0, 2)
    proxy.clear()
    assert (proxy.requests, proxy.peak) == ([], 0)


async def test_a_refused_name_is_noticed_when_it_is_set(proxy: RpcProxy) -> None:
    with pytest.raises(AssertionError, match="418"):
        proxy.behaviour = Behaviour(batch_refusal="418")
    with pytest.raises(AssertionError, match="418"):
        proxy.behaviour = Behaviour(rate_refusal="418")


@pytest.mark.parametrize("form", [*BATCH_REFUSALS, *PARTIAL_REFUSALS])
async def test_large_batches_are_refused_and_small_ones_are_not(proxy: RpcProxy, form: str) -> None:
    proxy.behaviour = Behaviour(max_batch=2, batch_refusal=form)
    _, _, replies = await post(proxy, some(2))
    assert [reply["result"] for reply in replies] == ["0x7a69"] * 2
    try:
        status, body, replies = await post(proxy, some(3))
    except aiohttp.ServerDisconnectedError:
        assert form == "closed"
    else:
        answered = [each for each in (replies or []) if "result" in each]
        assert status != 200 or not isinstance(replies, list) or len(answered) < 3
        assert form in ("empty", "422_empty") or body
    assert [request.refused for request in proxy.requests] == [False, True]


async def test_the_forms_of_known_servers(proxy: RpcProxy) -> None:
    async def refused(form: str) -> tuple[int, Any]:
        proxy.behaviour = Behaviour(max_batch=2, batch_refusal=form)
        status, _, replies = await post(proxy, some(3))
        return status, replies

    error: dict[str, Any] = {"code": -32600, "message": "batch too large"}
    assert await refused("list_of_one_error") == (
        200,
        [{"jsonrpc": "2.0", "id": 7, "error": error}],
    )
    error = {
        "code": -32000,
        "message": "batch limit 2 exceeded (can increase by --rpc.batch.limit)."
        " Requested batch of size: 3",
    }
    assert await refused("error_object") == (200, {"jsonrpc": "2.0", "id": None, "error": error})
    assert (await refused("500_with_body"))[0] == 500
    assert (await refused("503_with_body"))[0] == 503
    assert [len(reply) for reply in (await refused("per_item"))[1]] == [3, 3, 3]
    assert [("error" in reply) for reply in (await refused("rest_refused"))[1]] == [
        False,
        False,
        True,
    ]
    assert len((await refused("truncated"))[1]) == 2
    assert (await refused("first_only"))[1]["result"] == "0x7a69"


async def test_requests_have_a_largest_size_and_answers_any_order(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(max_body=200)
    status, body, _ = await post(proxy, some(9))
    assert (status, b"413 Request Entity Too Large" in body) == (413, True)
    proxy.behaviour = Behaviour(reversed_batch=True)
    _, _, replies = await post(proxy, some(3))
    assert [reply["id"] for reply in replies] == [9, 8, 7]


@pytest.mark.parametrize("form", RATE_REFUSALS)
async def test_a_rate_is_limited(proxy: RpcProxy, form: str) -> None:
    proxy.behaviour = Behaviour(
        requests_per_second=0.01, burst=1, rate_refusal=form, retry_after="3"
    )
    assert await result(proxy, "eth_chainId") == "0x7a69"
    for content in (some(1)[0], some(2)):
        try:
            status, _, reply = await post(proxy, content)
        except aiohttp.ServerDisconnectedError:
            assert form == "closed"
        else:
            first = reply[0] if isinstance(reply, list) else reply
            assert status != 200 or "error" in first
    assert [request.refused for request in proxy.requests] == [False, True, True]


async def test_a_limit_of_calls_may_refuse_a_part(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(
        requests_per_second=0.01, burst=3, counts_calls=True, rate_refusal="per_item"
    )
    _, _, replies = await post(proxy, some(5))
    assert [reply.get("result") for reply in replies] == ["0x7a69"] * 3 + [None] * 2
    assert replies[4] == {"jsonrpc": "2.0", "id": 11, "error": replies[4]["error"]}
    assert replies[4]["error"]["code"] == 429


def test_a_budget_fills_again() -> None:
    budget = Budget(10, burst=2)
    assert [budget.take(1, now) for now in (0, 0, 0, 0.05, 0.1, 0.2)] == [1, 1, 0, 0, 1, 1]
    assert budget.take(100, 9) == 2


async def test_retry_after_is_named(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(requests_per_second=0.01, burst=0, retry_after="7")
    async with (
        aiohttp.ClientSession() as session,
        session.post(proxy.url, json=some(1)[0]) as response,
    ):
        assert (response.status, response.headers["retry-after"]) == (429, "7")


async def test_requests_hang_are_late_or_have_no_answer(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(latency=0.2)
    began = time.monotonic()
    await post(proxy, some(1))
    assert time.monotonic() - began >= 0.2
    proxy.behaviour = Behaviour(hang_share=1.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post(proxy, some(1)), 0.2)
    proxy.behaviour = Behaviour(fail_share=1.0)
    assert (await post(proxy, some(1)))[0] == 502
    proxy.behaviour = Behaviour(down=True)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(proxy, some(1))
    proxy.behaviour = Behaviour()
    await proxy.refuse_connections()
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(proxy, some(1))
    await proxy.listen()
    assert await result(proxy, "eth_chainId") == "0x7a69"


async def test_a_target_that_has_gone_is_a_bad_gateway() -> None:
    async with RpcProxy("http://127.0.0.1:1") as proxy:
        assert (await post(proxy, some(1)))[0] == 502


@pytest.mark.parametrize("form", PENDING_REFUSALS)
async def test_pending_is_refused_where_it_is_said(proxy: RpcProxy, form: str) -> None:
    proxy.behaviour = Behaviour(
        refuses_pending=frozenset({"eth_getTransactionCount"}), pending_refusal=form
    )
    error = PENDING_REFUSALS[form]
    expected = None if error is None else error["message"]
    assert await result(proxy, "eth_getTransactionCount", NODE.address, "pending") == expected
    assert await result(proxy, "eth_getTransactionCount", NODE.address, "latest") == "0x0"
    assert await result(proxy, "eth_getBalance", NODE.address, "pending") != expected


async def test_methods_are_refused(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(refused_methods=frozenset({"eth_blockNumber"}))
    status, _, reply = await post(proxy, call("eth_blockNumber"))
    assert (status, reply["error"]["code"]) == (403, -32601)
    status, _, replies = await post(proxy, [call("eth_blockNumber"), call("eth_chainId")])
    assert (status, "error" in replies[0], replies[1]["id"]) == (200, True, 1)
    proxy.behaviour = Behaviour(
        refused_methods=frozenset({"eth_blockNumber"}), method_refusal="not_available"
    )
    assert await result(proxy, "eth_blockNumber") == (
        "the method eth_blockNumber does not exist/is not available"
    )


async def test_a_head_stands_still(proxy: RpcProxy, anvil: Anvil) -> None:
    frozen = anvil.block()
    rich = hex(anvil.balance(NODE.address))
    sent = anvil.send_raw(ALICE, NODE.address, value=5, gas=21_000)
    anvil.wait_for_receipt(sent)
    anvil.mine()
    proxy.behaviour = Behaviour(frozen_at=frozen.number)
    assert await result(proxy, "eth_blockNumber") == hex(frozen.number)
    latest = await result(proxy, "eth_getBlockByNumber", "latest", False)
    assert latest["hash"] == frozen.hash
    assert await result(proxy, "eth_getBlockByNumber", hex(frozen.number + 1), False) is None
    assert await result(proxy, "eth_getBalance", NODE.address, "latest") == rich
    assert await result(proxy, "eth_getTransactionReceipt", sent) is None
    assert (await result(proxy, "eth_getTransactionByHash", sent))["blockNumber"] is None
    proxy.behaviour = Behaviour()
    assert await result(proxy, "eth_blockNumber") == hex(frozen.number + 2)


async def test_some_machines_of_a_server_lag_behind(proxy: RpcProxy, anvil: Anvil) -> None:
    anvil.mine(5)
    head = anvil.block().number
    proxy.behaviour = Behaviour(lagging_share=0.5, lag=2)
    seen = {await result(proxy, "eth_blockNumber") for _ in range(20)}
    assert seen == {hex(head), hex(head - 2)}


async def test_a_client_that_synchronizes_has_no_latest_block(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(latest_is_null=True)
    assert await result(proxy, "eth_getBlockByNumber", "latest", False) is None
    assert (await result(proxy, "eth_getBlockByNumber", "0x0", False))["number"] == "0x0"
    assert await result(proxy, "eth_syncing")


async def test_numbers_and_identifiers_in_other_forms(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(numeric_chain_id=True, ids_as_text=True)
    _, _, reply = await post(proxy, call("eth_chainId", identifier=12))
    assert (reply["id"], reply["result"]) == ("12", 31337)


async def test_a_page_or_a_redirect_for_all(proxy: RpcProxy) -> None:
    proxy.behaviour = Behaviour(
        status=401, body=b"Must be authenticated!", content_type="text/plain"
    )
    assert (await post(proxy, some(1)))[:2] == (401, b"Must be authenticated!")
    proxy.behaviour = Behaviour(redirect_to="https://example.com/rpc", status=301)
    assert (await post(proxy, some(1)))[0] == 301


def signed(anvil: Anvil, *, nonce: int, tip: int = GWEI) -> str:
    fields: dict[str, Any] = {
        "to": NODE.address,
        "value": 1,
        "gas": 21_000,
        "nonce": nonce,
        "maxFeePerGas": 100 * tip,
        "maxPriorityFeePerGas": tip,
        "chainId": anvil.chain_id,
    }
    return "0x" + ALICE.sign_transaction(fields).raw_transaction.hex()


async def test_a_tip_has_a_floor(proxy: RpcProxy, anvil: Anvil) -> None:
    proxy.behaviour = Behaviour(min_tip_wei=25 * GWEI)
    raw = signed(anvil, nonce=0)
    expected = "transaction underpriced: gas tip cap 1000000000, minimum needed 25000000000"
    assert await result(proxy, "eth_sendRawTransaction", raw) == expected
    raw = signed(anvil, nonce=0, tip=25 * GWEI)
    assert anvil.wait_for_receipt(await result(proxy, "eth_sendRawTransaction", raw)).succeeded


async def test_accounts_with_code_have_one_transaction_in_flight(
    proxy: RpcProxy, anvil: Anvil
) -> None:
    anvil.set_automine(False)
    proxy.behaviour = Behaviour(max_in_flight=1)

    async def send(**fields: int) -> str:
        return str(await result(proxy, "eth_sendRawTransaction", signed(anvil, **fields)))

    assert await send(nonce=1) == GAPPED_NONCE
    assert (await send(nonce=0)).startswith("0x")
    assert await send(nonce=1) == IN_FLIGHT_LIMIT
    assert (await send(nonce=0, tip=2 * GWEI)).startswith("0x")
    anvil.mine()
    assert (await send(nonce=1)).startswith("0x")


async def test_transactions_may_get_lost(proxy: RpcProxy, anvil: Anvil) -> None:
    proxy.behaviour = Behaviour(loses_transactions=True)
    sent = await result(proxy, "eth_sendRawTransaction", signed(anvil, nonce=0))
    assert anvil.transaction(sent) is None
