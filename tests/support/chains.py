"""EVMs that many tests use one after the other, each as if it had a fresh one.

with Chains() as chains:
    chain = chains.fresh("v1")  # for each test
    chain.anvil, chain.v1

A process with the contracts deployed is kept for each combination of contracts, and set back to a
snapshot; what a snapshot does not cover (time, mempool, fees, mining) is set back as well.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from tests.support.evm import V0, V1, Anvil, RpcFailure, deploy_v0, deploy_v1


class Chain:
    """An EVM with contracts, as it was when they had just been deployed."""

    def __init__(self, contracts: frozenset[str]) -> None:
        self.anvil = Anvil()
        self.anvil.start()
        self._starts = self.anvil.starts
        self._v1 = deploy_v1(self.anvil) if "v1" in contracts else None
        self._v0 = deploy_v0(self.anvil) if "v0" in contracts else None
        self._base_fee = self.anvil.block("pending").base_fee
        self._snapshot = self.anvil.snapshot()

    @property
    def v1(self) -> V1:
        assert self._v1 is not None
        return self._v1

    @property
    def v0(self) -> V0:
        assert self._v0 is not None
        return self._v0

    def set_back(self) -> bool:
        """Undo all that a test did; False when that is impossible."""
        anvil = self.anvil
        if anvil.starts != self._starts or not anvil.running:
            return False  # the chain is another one, or gone
        anvil.resume()
        anvil.timeout = 30.0
        try:
            # Mining begins again at the end: else a transaction that waits might still be mined.
            anvil.set_block_time(0)
            anvil.set_automine(False)
            anvil.rpc("anvil_dropAllTransactions")
            if not anvil.rpc("evm_revert", self._snapshot):
                return False
            self._snapshot = anvil.snapshot()
            # Time stands still in a snapshot: go on at this moment, as a chain does that is new.
            anvil.rpc("evm_setTime", int(time.time()))
            anvil.set_base_fee(self._base_fee)
            anvil.mine()
            anvil.set_base_fee(self._base_fee)
            anvil.set_automine(True)
        except RpcFailure:  # a reorganisation went deeper than the snapshot
            return False
        return True


class Chains:
    """The EVMs of one test process."""

    def __init__(self) -> None:
        self._chains: dict[frozenset[str], Chain] = {}

    def fresh(self, *contracts: str) -> Chain:
        """Give the EVM that has these contracts, "v1" and "v0", and no others."""
        wanted = frozenset(contracts)
        chain = self._chains.get(wanted)
        if chain is not None and not chain.set_back():
            chain.anvil.stop()
            chain = None
        if chain is None:
            chain = self._chains[wanted] = Chain(wanted)
        return chain

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for chain in self._chains.values():
            chain.anvil.stop()
