from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from infernet_edge.chain.contracts.abi import WALLET_CREATED
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.chain.wallet.payment_wallet import (
    ask_wallet,
    created_wallet,
    is_valid_wallet,
)
from infernet_edge.http_client.client import HttpClient
from tests.support.evm import ALICE, COIN, ETHER, NODE, V1, deploy
from tests.support.scripted_rpc import RpcFault
from tests.support.sending import Proxy

FACTORY = f"0x{'aB' * 20}"


@pytest.fixture
async def proxy(v1: V1) -> AsyncIterator[Proxy]:
    async with Proxy(v1.anvil) as proxy:
        yield proxy


@pytest.fixture
async def rpc(proxy: Proxy) -> AsyncIterator[RpcClient]:
    async with HttpClient() as http:
        rpc = RpcClient(http, [proxy.url])
        yield rpc
        await rpc.close()


async def test_all_in_two_requests(rpc: RpcClient, proxy: Proxy, v1: V1) -> None:
    token = deploy(v1.anvil, "Token")
    wallet = v1.wallet(NODE, coins=ETHER)
    wallet.send("approve", ALICE.address, COIN, 5, sender=NODE)
    found = await ask_wallet(
        rpc, v1.wallet_factory.address, wallet.address, ALICE.address, [COIN, token.address]
    )
    assert (found.valid, found.owner) == (True, NODE.address)
    coin, tokens = found.holdings
    assert (coin.balance, coin.free, coin.locked, coin.allowance) == (ETHER, ETHER, 0, 5)
    assert (tokens.balance, tokens.free, tokens.locked, tokens.allowance) == (0, 0, 0, 0)
    assert len(proxy.requests) == 2


@pytest.mark.parametrize("locked", [1, 2, ETHER // 3, 2 * ETHER - 1, 2 * ETHER])
async def test_what_is_locked_to_the_last_digit(
    rpc: RpcClient, proxy: Proxy, v1: V1, locked: int
) -> None:
    wallet = v1.wallet(NODE, coins=2 * ETHER)
    wallet.send("approve", NODE.address, COIN, locked, sender=NODE)
    v1.lock(wallet, NODE, COIN, locked)
    factory = v1.wallet_factory.address
    found = await ask_wallet(rpc, factory, wallet.address, NODE.address, [COIN])
    assert found.holdings[0].locked == locked
    assert found.holdings[0].free == 2 * ETHER - locked
    assert len(proxy.requests) <= 30


async def test_an_owner_that_takes_no_coins(rpc: RpcClient, v1: V1) -> None:
    """What it could withdraw is unknown, since nothing can be withdrawn."""
    v1.wallet_factory.send("createWallet", v1.registry.address)
    wallet = v1.wallet_factory.events("WalletCreated")[-1]["wallet"]
    v1.anvil.set_balance(wallet, 7)
    found = await ask_wallet(rpc, v1.wallet_factory.address, wallet, NODE.address, [COIN])
    [coin] = found.holdings
    assert (coin.balance, coin.free, coin.locked) == (7, None, None)


async def test_something_else_than_a_wallet(rpc: RpcClient, v1: V1) -> None:
    factory = v1.wallet_factory.address
    for address in (ALICE.address, v1.registry.address):
        found = await ask_wallet(rpc, factory, address, NODE.address, [COIN, ALICE.address])
        assert (found.valid, found.owner) == (False, None)
        assert [holding.allowance for holding in found.holdings] == [None, None]
        assert found.holdings[1].balance is None
    assert await is_valid_wallet(rpc, factory, ALICE.address) is False
    assert await is_valid_wallet(rpc, ALICE.address, ALICE.address) is None


async def test_a_server_that_cannot_say_now(rpc: RpcClient, proxy: Proxy, v1: V1) -> None:
    def answer(*params: Any) -> Any:
        raise RpcFault({"code": -32000, "message": "request timed out"})

    proxy.results["eth_call"] = answer
    with pytest.raises(RpcUnavailable, match="timed out"):
        await ask_wallet(rpc, FACTORY, FACTORY, NODE.address, [])


def log(**changed: Any) -> dict[str, Any]:
    """The event of a factory that made a wallet for ALICE at NODE's address."""
    made = {"address": FACTORY.lower(), "topics": [WALLET_CREATED]}
    return made | {"data": "0x" + NODE.address[2:].lower().rjust(64, "0")} | changed


@pytest.mark.parametrize(
    "logs", [[log()], [log(topics=[]), log(address=NODE.address), log(topics=["0x00"]), log()]]
)
def test_the_wallet_that_was_made(logs: list[dict[str, Any]]) -> None:
    assert created_wallet(logs, FACTORY) == NODE.address


@pytest.mark.parametrize("data", ["0x", "0x" + "ff" * 32, "no hex", None])
def test_no_wallet_was_made(data: Any) -> None:
    assert created_wallet([log(data=data)], FACTORY) is None
    assert created_wallet([], FACTORY) is None
