"""A sender of transactions on a real EVM, looked at block by block.

async with Sending(tmp_path, anvil) as sending:
    await sending.mint("key")  # a call that counts: tokens tell how often it was mined
    await sending.settle("key")
    assert sending.minted == 1
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.txm import store as transaction_store
from infernet_edge.chain.txm.in_flight import StuckLimits
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.txm.store import PaidFee, Transaction, TransactionOutcome, TransactionStore
from infernet_edge.config.sections.chain import Chain
from infernet_edge.http_client.client import HttpClient
from infernet_edge.storage.database import Database
from tests.support.evm import ALICE, NODE, Anvil, Contract, RpcFailure, deploy
from tests.support.scripted_rpc import RpcFault, ScriptedRpc

GAS = 200_000
HURRIED = StuckLimits(stuck=0.0, stuck_without_blocks=3600.0, rebroadcast=0.0)


class Proxy(ScriptedRpc):
    """Hands on to an EVM what no result is set for."""

    def __init__(self, anvil: Anvil) -> None:
        super().__init__(chain_id=anvil.chain_id)
        self._anvil = anvil

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] in self.results or asked["method"] == "eth_chainId":
            return super().answer(asked)
        head = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            return head | {"result": self._anvil.rpc(asked["method"], *asked["params"])}
        except RpcFailure as failure:
            message = str(failure).partition(": ")[2]
            data = {"data": "0x" + failure.data.hex()} if failure.data else {}
            return head | {"error": {"code": failure.code, "message": message} | data}

    def refuse(self, method: str, message: str, times: int = 1) -> None:
        """Answer the next calls of a method with an error, and hand on the others."""
        left = [None] * times

        def answer(*params: Any) -> Any:
            if left:
                left.pop()
                raise RpcFault({"code": -32000, "message": message})
            return self._anvil.rpc(method, *params)

        self.results[method] = answer


def require_tip(proxy: Proxy, anvil: Anvil, floor: int, words: str) -> list[int]:
    """Refuse transactions with less; returns the tips that were offered."""
    offered: list[int] = []

    def answer(raw: str) -> Any:
        tip = int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["maxPriorityFeePerGas"])
        offered.append(tip)
        if tip < floor:
            message = words.format(tip=tip, floor=floor)
            raise RpcFault({"code": -32000, "message": message})
        return anvil.rpc("eth_sendRawTransaction", raw)

    proxy.results["eth_sendRawTransaction"] = answer
    return offered


class Tripwire:
    """Comes to its end at one of the moments before and after what it guards."""

    def __init__(self, moment: int) -> None:
        self.reached = asyncio.Event()
        self._left = moment

    def guard(self, owner: object, *names: str) -> None:
        """Count before and after each call of these methods."""
        for name in names:
            setattr(owner, name, self._guarded(getattr(owner, name)))

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*arguments: Any, **options: Any) -> Any:
            await self._pass()
            result = await method(*arguments, **options)
            await self._pass()
            return result

        return guarded

    async def _pass(self) -> None:
        if self._left == 0:
            await self.end()
        self._left -= 1

    async def end(self) -> None:
        """Go no further, as if the process had been killed."""
        self.reached.set()
        await asyncio.Event().wait()


class Sending:
    """The parts of a sender. After `crash` all but the file is new."""

    def __init__(
        self,
        folder: Path,
        anvil: Anvil,
        *,
        url: str | list[str] = "",
        trail: int = 0,
        account: LocalAccount = NODE,
        token: Contract | None = None,
        with_token: bool = True,
        limits: StuckLimits = HURRIED,
        max_pending: int = 100,
        max_fee_wei_per_day: int | None = None,
    ) -> None:
        self.anvil = anvil
        self._token = token or (deploy(anvil, "Token") if with_token else None)
        self.tripwire: Tripwire | None = None
        self.server: Proxy | None = None
        self.account = account
        self.outcomes: list[tuple[str, TransactionOutcome]] = []
        self.url = url or anvil.url
        self._path = folder / "ledger.sqlite"
        self.elapsed = 10**9
        """The node's own time, in milliseconds."""
        self._config = Chain(
            trail_head_blocks=trail,
            registry_address=f"0x{'11' * 20}",
            max_pending_transactions=max_pending,
            max_fee_wei_per_day=max_fee_wei_per_day,
        )
        self._limits = limits

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self.database = Database(self._path, {"transactions": transaction_store.MIGRATIONS})
        await self.database.open()
        self.http = HttpClient()
        self.rpc = RpcClient(self.http, [self.url] if isinstance(self.url, str) else self.url)
        self.head = HeadTracker(self.rpc, 0.01)
        self.store = TransactionStore(self.database)
        self.sender = TransactionManager(
            self.rpc,
            self.account,
            self.store,
            self._config,
            self.head,
            lambda: self.elapsed,
            limits=self._limits,
        )
        self._record_outcomes()
        if self.tripwire is not None:
            self.tripwire.guard(self.store, "find", "add", "replace", "remove", "finish")
            self.tripwire.guard(self.store, "remember_chain")
            self.tripwire.guard(self.rpc, "batch", "call", "call_once")
        await self.sender.load()

    def _record_outcomes(self) -> None:
        finish = self.store.finish

        async def recorded(
            transaction: Transaction, outcome: TransactionOutcome, payment: PaidFee | None = None
        ) -> None:
            await finish(transaction, outcome, payment)
            self.outcomes.append((transaction.key, outcome))

        self.store.finish = recorded  # type: ignore[method-assign]

    async def stop(self) -> None:
        await self.sender.stop()
        await self.rpc.close()
        await self.http.close()
        await self.database.close()

    async def restart(self) -> None:
        """What a new process finds: the file."""
        await self.stop()
        await self.start()

    @property
    def token(self) -> Contract:
        """The contract that is called."""
        assert self._token is not None
        return self._token

    async def mint(self, key: str, **options: Any) -> str:
        """Send a transaction that mints one token."""
        data = self.token.encode("mint", ALICE.address, 1)
        return await self.sender.send(key, self.token.address, data, **({"gas": GAS} | options))

    @property
    def minted(self) -> int:
        """How many of those were mined."""
        return int(self.token.call("balanceOf", ALICE.address))

    async def poll(self, times: int = 1) -> None:
        """Look at the chain, and let everything end that follows from it."""
        for _ in range(times):
            self.head.poll_soon()  # with all calls, without a new block as well
            await self.head.poll()
            while working := list(self.sender.confirmer.tasks.values()):
                await asyncio.gather(*working)

    async def settle(self, *keys: str, mine: bool = True) -> list[TransactionOutcome]:
        """Let blocks come until the transactions are final."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            outcomes = [self.sender.outcomes.recent(key) for key in keys]
            if all(outcomes):
                return [outcome for outcome in outcomes if outcome is not None]
            if mine:
                self.anvil.mine()
            await self.poll()
            await asyncio.sleep(0.01)
        raise AssertionError(f"not final: {keys}, {outcomes}")
