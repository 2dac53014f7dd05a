"""A consumer that pays for answers, a node that is paid, and the wallets of both.

market = Market(v1, token)
market.ask()
async with market.node(tmp_path) as (node, echo):
    await settled(node)
assert market.earned == PRICE
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from eth_account.signers.local import LocalAccount

from tests.support.asking import call_back
from tests.support.evm import ALICE, COIN, NOBODY, NODE, V1, Contract
from tests.support.onchain import on_chain
from tests.support.running import RunningNode
from tests.support.serving import Echo

PRICE = 10_000
PROOF = b"\xc0\xff\xee"


class Prover(Echo):
    """Answers bytes with a proof; after `free` calls not before `release`."""

    def __init__(self, *, free: int = 1000) -> None:
        super().__init__()
        self._free = free

    async def answer(self, request: web.Request, data: Any) -> web.StreamResponse:
        if len(self.calls) > self._free:
            await self._released.wait()
        return web.json_response(
            {
                "raw_input": None,
                "processed_input": None,
                "raw_output": "01",
                "processed_output": None,
                "proof": PROOF.hex(),
            }
        )


class Market:
    """Alice pays the price of one answer, in coins or in a token; the node owns `payee`."""

    def __init__(
        self,
        v1: V1,
        token: Contract | None = None,
        *,
        consumer: Contract | None = None,
        owner: LocalAccount = NODE,
    ) -> None:
        self.v1 = v1
        self.anvil = v1.anvil
        self._token = token
        self.token = COIN if token is None else token.address
        self.consumer = consumer or v1.deploy("CallbackConsumer")
        self.payer = v1.wallet(ALICE)
        self.payee = v1.wallet(owner)
        self.pay(self.payer.address, PRICE)
        self.approve(PRICE)

    def pay(self, address: str, amount: int) -> None:
        """Put money into a wallet."""
        if self._token is None:
            self.anvil.set_balance(address, self.balance(address) + amount)
        else:
            self._token.send("mint", address, amount)

    def approve(self, amount: int) -> None:
        """Let answers to the consumer's subscriptions be paid from Alice's wallet."""
        self.payer.send("approve", self.consumer.address, self.token, amount, sender=ALICE)

    def balance(self, address: str) -> int:
        """What an address has of the money in which is paid."""
        if self._token is None:
            return self.anvil.balance(address)
        return int(self._token.call("balanceOf", address))

    @property
    def earned(self) -> int:
        """What is in the node's wallet."""
        return self.balance(self.payee.address)

    def own(self, owner: LocalAccount) -> None:
        """Give the node's wallet to somebody, without a transaction."""
        value = owner.address.removeprefix("0x").rjust(64, "0")
        self.anvil.rpc("anvil_setStorageAt", self.payee.address, "0x" + "0" * 64, "0x" + value)
        assert self.payee.call("owner") == owner.address

    @property
    def allowed(self) -> int:
        """How much may be locked in the node's wallet."""
        return int(self.payee.call("allowance", NODE.address, self.token))

    def verifier(self, name: str, *arguments: bool) -> Contract:
        """Deploy a verifier that takes no fee."""
        made = self.v1.deploy(name, *arguments)
        made.send("support", self.token, True, 0)
        return made

    def ask(self, *, amount: int = PRICE, wallet: str = "", verifier: str = NOBODY) -> int:
        """Ask once, with a CallbackConsumer; returns the subscription's id."""
        return call_back(
            self.v1,
            self.consumer,
            token=self.token,
            amount=amount,
            wallet=wallet or self.payer.address,
            verifier=verifier,
        )

    @asynccontextmanager
    async def node(
        self,
        folder: Path,
        *,
        echo: Echo | None = None,
        rpc_url: str = "",
        trail: int = 0,
        wallet: Mapping[str, Any] | None = None,
        container: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[tuple[RunningNode, Echo]]:
        """Run a node that is paid in `payee`; its container proves what it says."""
        settings = {"payment_address": self.payee.address} | dict(wallet or {})
        rules = {"generates_proofs": True} | dict(container or {})
        async with on_chain(
            folder,
            v1=self.v1,
            echo=echo,
            rpc_url=rpc_url,
            chain={"wallet": settings, "trail_head_blocks": trail},
            container=rules,
        ) as running:
            yield running
