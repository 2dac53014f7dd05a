from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.chain.txm import one_off as oneoff
from infernet_edge.chain.txm.one_off import NotDone, NotMined, Receipt, send_and_wait
from infernet_edge.http_client.client import HttpClient
from tests.support.evm import ALICE, NODE, Anvil, deploy
from tests.support.scripted_rpc import reply
from tests.support.sending import Proxy, require_tip

Send = Callable[..., Awaitable[Receipt]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oneoff, "_POLL_PERIOD", 0.01)


@pytest.fixture
async def proxy(anvil: Anvil) -> AsyncIterator[Proxy]:
    async with Proxy(anvil) as proxy:
        yield proxy


@pytest.fixture
async def rpc(proxy: Proxy) -> AsyncIterator[RpcClient]:
    async with HttpClient() as http:
        rpc = RpcClient(http, [proxy.url])
        yield rpc
        await rpc.close()


@pytest.fixture
def hashes() -> list[str]:
    """The hashes that `on_sent` was called with."""
    return []


@pytest.fixture
def send(rpc: RpcClient, hashes: list[str]) -> Send:
    """Send for NODE to a contract."""

    async def send(to: str, data: bytes = b"", timeout: float = 20) -> Receipt:
        return await send_and_wait(rpc, NODE, to, data, timeout=timeout, on_sent=hashes.append)

    return send


async def test_sent_and_mined(send: Send, hashes: list[str], anvil: Anvil) -> None:
    token = deploy(anvil, "Token")
    data = token.encode("mint", ALICE.address, 3)
    receipt = await send(token.address.lower(), data)
    expected = anvil.receipt(receipt.hash)
    assert expected is not None
    assert hashes == [receipt.hash]
    assert (receipt.succeeded, receipt.block) == (True, expected.block)
    assert receipt.logs[0]["address"] == token.address.lower()
    assert token.call("balanceOf", ALICE.address) == 3


async def test_what_would_revert_is_not_sent(send: Send, anvil: Anvil) -> None:
    token = deploy(anvil, "Token")
    data = token.encode("transfer", ALICE.address, 3)
    with pytest.raises(NotDone, match=f"{token.address} would refuse it"):
        await send(token.address, data)
    assert anvil.nonce(NODE.address) == 0


async def test_reverted_when_it_is_mined(send: Send, proxy: Proxy, anvil: Anvil) -> None:
    token = deploy(anvil, "Token")
    proxy.results["eth_estimateGas"] = hex(100_000)  # it would not have reverted then
    receipt = await send(token.address, token.encode("transfer", ALICE.address, 3))
    assert not receipt.succeeded
    assert not receipt.logs


async def test_a_server_that_knows_no_1559(send: Send, proxy: Proxy, anvil: Anvil) -> None:
    proxy.refuse("eth_sendRawTransaction", "transaction type not supported")
    receipt = await send(ALICE.address)
    transaction = anvil.transaction(receipt.hash)
    assert transaction is not None
    assert transaction["type"] == "0x0"


async def test_what_the_node_has_sent_is_left_alone(send: Send, proxy: Proxy, anvil: Anvil) -> None:
    """Also where the server does not count what waits to be mined."""
    anvil.set_automine(False)
    others = [anvil.send_raw(NODE, ALICE.address, nonce=nonce, gas=21_000) for nonce in (0, 1)]
    counted = anvil.rpc("eth_getTransactionCount", NODE.address, "latest")
    proxy.results["eth_getTransactionCount"] = lambda address, tag: counted
    proxy.refuse("eth_sendRawTransaction", "replacement transaction underpriced", times=2)
    sent = asyncio.ensure_future(send(ALICE.address))
    while len(anvil.mempool()) < 3:
        await asyncio.sleep(0.01)
    anvil.mine()
    assert (await sent).succeeded
    assert all((receipt := anvil.receipt(each)) and receipt.succeeded for each in others)


async def test_refused(send: Send, hashes: list[str], proxy: Proxy) -> None:
    proxy.refuse("eth_sendRawTransaction", "nonce too low", times=100)
    with pytest.raises(NotDone, match="refused: nonce too low"):
        await send(ALICE.address)
    assert not hashes


async def test_no_coins(send: Send, anvil: Anvil) -> None:
    anvil.set_balance(NODE.address, 7)
    with pytest.raises(NotDone, match="has 7 wei"):
        await send(ALICE.address)


async def test_not_mined_in_time(send: Send, hashes: list[str], anvil: Anvil) -> None:
    anvil.set_automine(False)
    with pytest.raises(NotMined, match="was sent but is not mined after 0 seconds") as problem:
        await send(ALICE.address, timeout=0.1)
    [hash_] = hashes
    assert hash_ in str(problem.value)


async def test_without_the_chain(send: Send, proxy: Proxy) -> None:
    proxy.always = reply(503, headers={"Retry-After": "60"})
    with pytest.raises(RpcUnavailable):
        await send(ALICE.address)


@pytest.mark.parametrize(
    "words", ["gas tip cap {tip}, minimum needed {floor}", "transaction underpriced"]
)
async def test_a_floor_of_the_tip_is_paid(
    send: Send, proxy: Proxy, anvil: Anvil, words: str
) -> None:
    offered = require_tip(proxy, anvil, 25 * 10**9, words)
    token = deploy(anvil, "Token")
    receipt = await send(token.address, token.encode("mint", ALICE.address, 3))
    assert receipt.succeeded
    assert offered[-1] >= 25 * 10**9
