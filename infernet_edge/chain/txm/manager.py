"""The transaction manager: each transaction is sent once, and followed until it is final.

A transaction is stored, signed and with its nonce, before any server sees it. Whatever happens
after that, such as a kill at any moment, the same bytes are sent again, or bytes with the same
nonce, of which the chain takes one at most. The promises are written down in broadcaster.py and
confirmer.py.
"""

from __future__ import annotations

from eth_account.signers.local import LocalAccount

from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.txm.broadcaster import Broadcaster
from infernet_edge.chain.txm.conditions import ConditionsReader, LearnedFloor
from infernet_edge.chain.txm.confirmer import Confirmer
from infernet_edge.chain.txm.funds import BalanceWatch, Elapsed, FeeBudget
from infernet_edge.chain.txm.in_flight import InFlightSet, StuckLimits
from infernet_edge.chain.txm.outcomes import Outcomes
from infernet_edge.chain.txm.slots import TransactionSlots
from infernet_edge.chain.txm.store import TransactionStore
from infernet_edge.config.sections.chain import Chain


class TransactionManager:
    """The transactions of one account: `send` and `find` them, `outcomes` says how they ended."""

    def __init__(
        self,
        rpc: RpcClient,
        account: LocalAccount,
        store: TransactionStore,
        config: Chain,
        head: HeadTracker,
        elapsed: Elapsed,
        *,
        limits: StuckLimits | None = None,
    ) -> None:
        """`elapsed` is the node's own time, see FeeBudget."""
        self.address: str = account.address
        self.in_flight = InFlightSet(limits)
        self.slots = TransactionSlots(self.in_flight, config.max_pending_transactions)
        self._budget = FeeBudget(config.max_fee_wei_per_day, store, elapsed)
        self._balance = BalanceWatch(account.address, store)
        self.outcomes = Outcomes(store, self.in_flight, self._budget)
        self._store = store
        self._head = head
        reader, floor = ConditionsReader(rpc, account.address, head), LearnedFloor()
        self._broadcaster = Broadcaster(
            rpc,
            account,
            store,
            config,
            head,
            self.in_flight,
            self.outcomes,
            self.slots,
            reader,
            floor,
            self._budget,
        )
        self.confirmer = Confirmer(
            rpc,
            account,
            store,
            head,
            self.in_flight,
            self.outcomes,
            self._broadcaster,
            self.slots,
            reader,
            floor,
            self._budget,
            config.trail_head_blocks,
        )
        self.send = self._broadcaster.send
        self.find = self._broadcaster.find

    @property
    def problems(self) -> list[str]:
        """What hinders transactions, and people can fix."""
        return [text for text in (self._budget.problem, self._balance.problem) if text]

    @property
    def balance(self) -> int | None:
        """Wei of the account, a minute old at most while the chain answers; None: not known."""
        return self._balance.balance

    @property
    def paid(self) -> int:
        """Wei that final transactions have cost since the start."""
        return self._budget.paid_since_start

    @property
    def paid_in_a_day(self) -> int:
        """Wei that transactions have cost in the last 24 hours."""
        return self._budget.paid

    async def load(self) -> None:
        """Resume what an earlier run left. To be called once, before the head is polled.

        Raises StorageError.
        """
        await self.outcomes.load()
        await self._budget.load()
        await self._balance.load()
        await self._broadcaster.load()
        self._head.watch(self.confirmer)
        self._head.watch(self._balance)

    async def stop(self) -> None:
        """Do nothing any more; the next run resumes. May be called twice."""
        self._head.unwatch(self._balance)
        self._head.unwatch(self.confirmer)
        await self.confirmer.stop()  # first: it gives the broadcaster work
        await self._broadcaster.stop()

    async def last_number(self) -> int:
        """The largest number of a delivery that a transaction was for. Raises StorageError."""
        return await self._store.last_number()
