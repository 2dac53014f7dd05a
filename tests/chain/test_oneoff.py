from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from infernet_edge.chain import oneoff
from infernet_edge.chain.oneoff import NotDone, send_and_wait
from infernet_edge.chain.rpc import Rpc, RpcUnavailable
from tests.support.evm import ALICE, NODE, Anvil, deploy
from tests.support.scripted_rpc import reply
from tests.support.sending import Proxy


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oneoff, "_LOOK_PERIOD", 0.01)


@pytest.fixture
async def proxy(anvil: Anvil) -> AsyncIterator[Proxy]:
    async with Proxy(anvil) as proxy:
        yield proxy


@pytest.fixture
async def rpc(proxy: Proxy) -> AsyncIterator[Rpc]:
    async with aiohttp.ClientSession() as session:
        rpc = Rpc(session, [proxy.url])
        yield rpc
        await rpc.close()


async def test_sent_and_mined(rpc: Rpc, anvil: Anvil) -> None:
    token = deploy(anvil, "Token")
    data = token.encode("mint", ALICE.address, 3)
    outcome = await send_and_wait(rpc, NODE, token.address.lower(), data, timeout=20)
    receipt = anvil.receipt(outcome.hash)
    assert receipt is not None
    assert (outcome.status, outcome.block) == ("mined", receipt.block)
    assert token.call("balanceOf", ALICE.address) == 3


async def test_what_would_revert_is_not_sent(rpc: Rpc, anvil: Anvil) -> None:
    token = deploy(anvil, "Token")
    data = token.encode("transfer", ALICE.address, 3)
    with pytest.raises(NotDone, match=f"{token.address} would refuse it"):
        await send_and_wait(rpc, NODE, token.address, data, timeout=20)
    assert anvil.nonce(NODE.address) == 0


async def test_a_server_that_knows_no_1559(rpc: Rpc, proxy: Proxy, anvil: Anvil) -> None:
    proxy.refuse("eth_sendRawTransaction", "transaction type not supported")
    outcome = await send_and_wait(rpc, NODE, ALICE.address, b"", timeout=20)
    transaction = anvil.transaction(outcome.hash)
    assert transaction is not None
    assert transaction["type"] == "0x0"


async def test_refused(rpc: Rpc, proxy: Proxy) -> None:
    proxy.refuse("eth_sendRawTransaction", "nonce too low")
    with pytest.raises(NotDone, match="refused: nonce too low"):
        await send_and_wait(rpc, NODE, ALICE.address, b"", timeout=20)


async def test_no_coins(rpc: Rpc, anvil: Anvil) -> None:
    anvil.set_balance(NODE.address, 7)
    with pytest.raises(NotDone, match="has 7 wei"):
        await send_and_wait(rpc, NODE, ALICE.address, b"", timeout=20)


async def test_not_mined_in_time(rpc: Rpc, anvil: Anvil) -> None:
    anvil.set_automine(False)
    with pytest.raises(NotDone, match=r"0x[0-9a-f]{64} was sent but is not mined after 0 seconds"):
        await send_and_wait(rpc, NODE, ALICE.address, b"", timeout=0.1)


async def test_without_the_chain(rpc: Rpc, proxy: Proxy) -> None:
    proxy.always = reply(503, headers={"Retry-After": "60"})
    with pytest.raises(RpcUnavailable):
        await send_and_wait(rpc, NODE, ALICE.address, b"", timeout=20)
