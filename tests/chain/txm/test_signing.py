"""What the answer of a server to a transaction means, where words are not enough."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.evm import NODE, Anvil
from tests.support.scripted_rpc import RpcFault
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
