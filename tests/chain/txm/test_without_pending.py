"""Nonces where the server does not count what waits to be mined."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.evm import ALICE, NODE, Anvil
from tests.support.scripted_rpc import RpcFault
from tests.support.sending import GAS, Proxy, Sending

NONCES = "eth_getTransactionCount"


@pytest.fixture(params=["refused", "null", "taken for latest"], autouse=True)
def without_pending(request: pytest.FixtureRequest, proxy: Proxy, anvil: Anvil) -> None:
    """What the server does with "pending"."""

    def counted(address: str, tag: str) -> Any:
        if tag == "pending" and request.param == "refused":
            raise RpcFault({"code": -32000, "message": "pending block is not available"})
        if tag == "pending" and request.param == "null":
            return None
        return anvil.rpc(NONCES, address, "latest" if tag == "pending" else tag)

    proxy.results[NONCES] = counted


def sent_nonces(anvil: Anvil) -> list[int]:
    """Those that wait to be mined."""
    found = [anvil.transaction(hash_) for hash_ in anvil.mempool()]
    return sorted(int(each["nonce"], 16) for each in found if each is not None)


async def test_each_has_a_nonce_of_its_own(proxied: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    first = anvil.nonce(NODE.address)
    await asyncio.gather(*(proxied.mint(f"{n}") for n in range(5)))
    assert sent_nonces(anvil) == [first + n for n in range(5)]
    await proxied.settle(*(f"{n}" for n in range(5)))
    assert proxied.minted == 5
    assert anvil.nonce(NODE.address) == first + 5


async def test_those_of_an_earlier_run_count(proxied: Sending, anvil: Anvil) -> None:
    anvil.set_automine(False)
    first = anvil.nonce(NODE.address)
    await proxied.mint("0")
    await proxied.mint("1")
    await proxied.restart()
    await proxied.mint("2")
    assert sent_nonces(anvil) == [first, first + 1, first + 2]
    await proxied.settle("0", "1", "2")
    assert proxied.minted == 3


async def test_another_program_with_the_same_key(proxied: Sending, anvil: Anvil) -> None:
    """Its transaction waits with the next nonce, which the server does not say before."""
    anvil.set_automine(False)
    first = anvil.nonce(NODE.address)
    other = anvil.send_raw(NODE, ALICE.address, nonce=first, gas=GAS, gas_price=10**12)
    await proxied.mint("0")
    assert sent_nonces(anvil) == [first, first + 1]
    await proxied.settle("0")
    assert (receipt := anvil.receipt(other)) is not None
    assert receipt.succeeded
    assert proxied.minted == 1
