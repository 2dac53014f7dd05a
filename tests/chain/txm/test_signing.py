"""What the answer of a server to a transaction means, where words are not enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infernet_edge.chain.txm.fees import Conditions
from tests.support.evm import NODE, Anvil
from tests.support.rpc_behaviours import Behaviour
from tests.support.rpc_proxy import RpcProxy
from tests.support.scripted_rpc import Asked, RpcFault, hang_up, transformed
from tests.support.sending import Proxy, Sending


def send_twice(proxy: Proxy, anvil: Anvil) -> None:
    """Behave as what balances the load, and asks a second server when the first one is slow."""

    def answer(raw: str) -> Any:
        anvil.rpc("eth_sendRawTransaction", raw)  # mined at once
        raise RpcFault({"code": -32000, "message": "nonce too low: next nonce 1, tx nonce 0"})

    proxy.results["eth_sendRawTransaction"] = answer


async def test_a_nonce_that_the_transaction_itself_uses(
    proxied: Sending, proxy: Proxy, anvil: Anvil
) -> None:
    """It was sent again with the next nonce before, and paid for twice."""
    send_twice(proxy, anvil)
    await proxied.mint("one")
    [outcome] = await proxied.settle("one")
    assert outcome.status == "mined"
    assert proxied.minted == 1
    assert anvil.nonce(NODE.address, "pending") == 1
    assert proxy.asked("eth_sendRawTransaction") == 1


async def test_the_same_call_of_another_key(proxied: Sending, anvil: Anvil) -> None:
    """Its nonce was asked for before the first one was mined; the bytes are the same then."""
    reader = proxied.sender._broadcaster._reader  # noqa: SLF001 - to have old conditions
    old = await reader.now()
    await proxied.mint("one")
    await proxied.settle("one")
    fresh = reader.now

    async def once() -> Conditions:
        reader.now = fresh  # type: ignore[method-assign]
        return old

    reader.now = once  # type: ignore[method-assign]
    await proxied.mint("two")
    await proxied.settle("two")
    assert proxied.minted == 2
    assert anvil.nonce(NODE.address) == 2


@pytest.mark.parametrize("method", ["eth_getTransactionByHash", "eth_getTransactionReceipt"])
async def test_one_of_two_answers_is_enough(
    proxied: Sending, proxy: Proxy, anvil: Anvil, method: str
) -> None:
    """A receipt comes late at some servers, and others do not offer the other method."""
    send_twice(proxy, anvil)
    proxy.refuse(method, "method not found")
    await proxied.mint("one")
    assert anvil.nonce(NODE.address, "pending") == 1
    assert proxy.asked("eth_sendRawTransaction") == 1
    await proxied.settle("one")
    assert proxied.minted == 1


# Servers that are of no use for transactions, beside one that is


async def test_a_server_that_breaks_off_transactions(
    tmp_path: Path, proxy: Proxy, anvil: Anvil
) -> None:
    """It answers all that is read, so it stays in use."""
    proper = transformed(lambda answers: answers if len(answers) > 1 else answers[0], proxy)

    async def reads_only(request: web.Request, asked: Asked) -> web.StreamResponse:
        sends = any(each["method"] == "eth_sendRawTransaction" for each in asked)
        return await (hang_up if sends else proper)(request, asked)

    proxy.always = reads_only
    async with Sending(tmp_path, anvil, url=[proxy.url, anvil.url]) as sending:
        await sending.mint("one")
        [outcome] = await sending.settle("one")
        assert outcome.status == "mined"
        assert sending.minted == 1
        assert sending.rpc.servers()[0].in_use


async def test_a_server_that_loses_transactions(tmp_path: Path, anvil: Anvil) -> None:
    async with RpcProxy(anvil.url, Behaviour(loses_transactions=True)) as server:
        async with Sending(tmp_path, anvil, url=[server.url, anvil.url]) as sending:
            await sending.mint("one")
            assert anvil.nonce(NODE.address, "pending") == 0
            await sending.settle("one")
            assert sending.minted == 1
        async with Sending(tmp_path, anvil, url=server.url, with_token=False) as alone:
            assert not await alone.rpc.spread("eth_blockNumber", []), "there is one server only"
