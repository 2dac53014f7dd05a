"""Whenever the sender is killed, what it was to send is mined once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infernet_edge.chain.txm.broadcaster import SendError
from tests.support.evm import ALICE, NODE, Anvil, deploy
from tests.support.process import ROOT
from tests.support.sending import Proxy, Sending, Tripwire
from tests.support.template import template

GWEI = 10**9

Scenario = Callable[[Sending, str], Awaitable[None]]


async def plainly(sending: Sending, key: str) -> None:
    await sending.mint(key)
    await sending.settle(key)


async def robbed(sending: Sending, key: str) -> None:
    """Another program takes the nonce while the transaction waits."""
    sending.anvil.set_automine(False)
    await sending.mint(key)
    nonce = sending.anvil.nonce(NODE.address)
    sending.anvil.send_raw(NODE, ALICE.address, nonce=nonce, gas_price=900 * GWEI)
    await sending.settle(key)


async def replaced(sending: Sending, key: str) -> None:
    """Gas becomes too expensive, so that it is signed again with the same nonce."""
    sending.anvil.set_automine(False)
    await sending.mint(key)
    await sending.poll()
    for _ in range(3):
        sending.anvil.set_base_fee(20 * GWEI)
        sending.anvil.mine()
    sending.anvil.set_base_fee(20 * GWEI)
    await sending.poll()
    await sending.settle(key)


async def refused(sending: Sending, key: str) -> None:
    """The server takes it at the second attempt only."""
    assert sending.server is not None
    sending.server.refuse("eth_sendRawTransaction", "transaction underpriced")
    with contextlib.suppress(SendError):
        await sending.mint(key)
    await plainly(sending, key)


async def beaten(sending: Sending, key: str) -> None:
    """Its first nonce turns out to be used already."""
    assert sending.server is not None
    sending.server.refuse("eth_sendRawTransaction", "nonce too low")
    await plainly(sending, key)


@pytest.mark.parametrize("scenario", [plainly, robbed, replaced, refused, beaten])
async def test_stopped_at_every_moment(tmp_path: Path, anvil: Anvil, scenario: Scenario) -> None:
    """All that is left is the file: nothing else runs on behind the moment."""
    async with Proxy(anvil) as proxy, Sending(tmp_path, anvil, url=proxy.url) as sending:
        sending.server = proxy
        moment = 0
        while await _stopped_at(sending, scenario, moment):
            anvil.set_automine(True)
            proxy.results.clear()
            key = f"key {moment}"
            await sending.mint(key)
            await sending.settle(key)
            moment += 1
            assert sending.minted == moment, f"at moment {moment - 1}"
            assert anvil.mempool() == []
    assert moment >= 10


async def _stopped_at(sending: Sending, scenario: Scenario, moment: int) -> bool:
    """Run a scenario up to a moment; False when it ended before."""
    tripwire = sending.tripwire = Tripwire(moment)
    await sending.restart()
    running = asyncio.ensure_future(scenario(sending, f"key {moment}"))
    reached = asyncio.create_task(tripwire.reached.wait())
    await asyncio.wait([running, reached], return_when=asyncio.FIRST_COMPLETED, timeout=60)
    for task in (running, reached):
        task.cancel()
    sending.tripwire = None
    await sending.restart()
    [end, _] = await asyncio.gather(running, reached, return_exceptions=True)
    assert end is None or isinstance(end, asyncio.CancelledError), end
    return tripwire.reached.is_set()


def ended_with(command: list[str], folder: Path) -> int:
    """Run a program to its end; returns the exit code."""
    prepared = template("tests.support.sending")
    return prepared.start(command, ROOT, os.environ, folder / "log").wait(60)


def test_killed_at_every_moment(tmp_path: Path, anvil: Anvil) -> None:
    token = deploy(anvil, "Token")
    command = [sys.executable, "-m", "tests.support.killed_sender", str(tmp_path)]
    command += [str(anvil.port), token.address]
    moment, killed = 0, True
    while killed:
        code = ended_with([*command, f"key {moment}", str(moment)], tmp_path)
        assert code in (0, -signal.SIGKILL), (tmp_path / "log").read_text()
        killed = code != 0
        moment += 1
    keys = ",".join(f"key {number}" for number in range(moment))
    assert ended_with([*command, keys, "10000"], tmp_path) == 0, (tmp_path / "log").read_text()
    assert moment >= 10
    assert token.call("balanceOf", ALICE.address) == moment
    assert anvil.mempool() == []
