"""The state of the chain for the operator: what works, what does not, what is waited for.

Nothing here changes what the node does. The account is read when a report is wanted, not with each
block: without reports it costs no calls.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import BlockHeader, HeadTracker
from infernet_edge.chain.subscriptions.listener import Listener
from infernet_edge.chain.subscriptions.scheduler import Scheduler
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.wallet.account_state import AccountState, ask_account
from infernet_edge.config.model import Config, Container
from infernet_edge.schema import ChainServer, ChainSummary

REFRESH_SECONDS: Final = 15.0
"""The account is read again for a report after this time."""

REPORT_TIMEOUT: Final = 3.0
"""Seconds that a report waits for the account; older values are shown then."""

NAMES: Final = {
    1: "Ethereum",
    10: "OP Mainnet",
    137: "Polygon",
    8453: "Base",
    31337: "Anvil",
    42161: "Arbitrum One",
    84532: "Base Sepolia",
    11155111: "Sepolia",
}
"""The names of some chains, by their ids (chainlist.org)."""

_REMEMBERED = 8  # intervals between blocks
_STILL_INTERVALS = 10  # of the usual length without a block: the chain, or its server, stands still
_MIN_STILL = 60.0  # seconds without a block, however short the intervals are
_STILL_UNKNOWN = 300.0  # the same while no interval is known


class Condition(NamedTuple):
    """Something that prevents deliveries: its kind, what it is about, and its text; "" for none."""

    kind: str
    text: str
    subject: str = ""


class ChainStatus:
    """What is known of the chain now. A watcher of the head, for the times of its blocks."""

    def __init__(
        self,
        config: Config,
        rpc: RpcClient,
        head: HeadTracker,
        deployment: Deployment,
        deliveries: DeliveryStore,
        address: str,
        transactions: TransactionManager,
        listener: Listener | None,
        scheduler: Scheduler | None,
    ) -> None:
        """`listener` and `scheduler` are None where no registry is configured."""
        self._config = config.chain
        self.apply(config)
        self._rpc = rpc
        self._head = head
        self._deployment = deployment
        self._deliveries = deliveries
        self._address = address
        self._transactions = transactions
        self._listener = listener
        self._scheduler = scheduler
        self._block: BlockHeader | None = None
        self._block_at = 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._account: AccountState | None = None
        self._account_at = 0.0
        self._account_problem = ""

    def apply(self, config: Config) -> None:
        """Report what these containers do not allow."""
        self._permanent = _without_containers(config.containers)

    def questions(self) -> list[Call]:
        """Nothing: the block alone is enough."""
        return []

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Note when a block came."""
        before, now = self._block, time.monotonic()
        if before is not None and block.hash == before.hash:
            return
        if before is not None and block.number > before.number:
            self._intervals.append((now - self._block_at) / (block.number - before.number))
        self._block, self._block_at = block, now

    async def refresh(self) -> None:
        """Read the account, unless that was done a moment ago; waits for some seconds at most."""
        if self._account is not None and self._account_age() < REFRESH_SECONDS:
            return
        try:
            async with asyncio.timeout(REPORT_TIMEOUT):
                self._account = await ask_account(
                    self._rpc, self._config, self._deployment, self._address
                )
        except TimeoutError:
            self._account_problem = f"no answer within {REPORT_TIMEOUT:g} seconds"
        except RpcUnavailable as error:
            self._account_problem = str(error)
        else:
            self._account_at, self._account_problem = time.monotonic(), ""

    def _account_age(self) -> float:
        return time.monotonic() - self._account_at

    @property
    def block_age(self) -> float | None:
        """Seconds since the newest block, None while none is known.

        By this machine's steady clock since it came, or by its date, where that is longer: the
        first block that a server gives may be an old one.
        """
        if self._block is None:
            return None
        return max(time.monotonic() - self._block_at, time.time() - self._block.timestamp)

    def problems(self) -> list[str]:
        """What prevents deliveries, as far as is known now; each with what it is about."""
        return [each.text for each in self.conditions()]

    def conditions(self) -> list[Condition]:
        """The same, each with its kind; no text is there twice."""
        progress = None if self._listener is None else self._listener.progress
        if self._rpc.problem:
            lost = f"No JSON-RPC server of chain.rpc_url answers: {self._rpc.problem}"
            return _distinct([Condition("containers", self._permanent), Condition("rpc", lost)])
        found = [
            Condition("containers", self._permanent),
            Condition("head", self._answered(self._head.problem)),
            Condition("still", self.stillness()),
        ]
        found += [
            Condition("server", f"The JSON-RPC server {each.name}: {each.problem}", each.name)
            for each in self._rpc.servers()
            if each.in_use and each.problem
        ]
        if progress is not None:
            found.append(Condition("contracts", self._answered(progress.problem)))
        waiting = self._transactions.problems
        if self._account is not None:
            found += [Condition("account", str(each)) for each in self._account.problems]
            if not self._account.balance:  # which says more than that it is low
                waiting = [each for each in waiting if self._address not in each]
        elif self._account_problem and not self._head.problem:
            unread = f"The account {self._address} cannot be read: {self._account_problem}"
            found.append(Condition("account", unread))
        return _distinct([*found, *(Condition("funds", each) for each in waiting)])

    def _answered(self, problem: str) -> str:
        """A problem with the server that answered so, where its text names none."""
        if not problem or any(each.name in problem for each in self._rpc.servers()):
            return problem
        return f"{problem} (answered by {self._server_in_use()})"

    def _server_in_use(self) -> str:
        return ", ".join(each.name for each in self._rpc.servers() if each.in_use)

    def stillness(self) -> str:
        """Why the head stands still, "" when it does not."""
        age = self.block_age
        if self._block is None or age is None:
            return ""
        limit = _STILL_UNKNOWN
        if len(self._intervals) == _REMEMBERED:
            limit = max(_MIN_STILL, _STILL_INTERVALS * max(self._intervals))
        if age < limit:
            return ""
        return (
            f"No new block for {_duration(age)}: the newest of chain {self._rpc.chain_id} at"
            f" {self._server_in_use()} is {self._block.number}. The server or the chain stands"
            " still, this machine's clock is wrong, or the chain makes blocks only for"
            " transactions; a second server in chain.rpc_url shows which"
        )

    def waits_for(self) -> str:
        """What the node waits for now, as the end of a sentence."""
        progress = None if self._listener is None else self._listener.progress
        if self._rpc.problem:
            return "a JSON-RPC server that answers"
        if self._block is None:
            return "the first block"
        if progress is not None and progress.problem:
            known = "1.x" in self._deployment.known()
            return (
                "answers of the contracts" if known else "the contracts of chain.registry_address"
            )
        if progress is not None and progress.next_id == 0:
            return "the next id of the coordinator"
        if progress is not None and progress.read_to < progress.next_id:
            return (
                f"subscriptions {progress.read_to} to {progress.next_id - 1}, which are being read"
            )
        if pending := self._deliveries.pending:
            many = "a delivery" if pending == 1 else f"{pending} deliveries"
            return f"the end of {many}, see: infernet-edge jobs --onchain"
        if progress is None:
            return "delegated requests"
        return f"a subscription with the id {progress.next_id}, and delegated requests"

    def summary(self) -> ChainSummary:
        """The same in short, for everybody."""
        account, block, number = self._account, self._block, self._rpc.chain_id
        return ChainSummary(
            chain_id=number,
            name=None if number is None else NAMES.get(number, f"Chain {number}"),
            head=None if block is None else block.number,
            head_at=None if block is None else block.timestamp * 1000,
            rpc=[
                ChainServer(each.name, not each.problem, each.problem, _milliseconds(each.seconds))
                for each in self._rpc.servers()
            ],
            address=self._address,
            balance=None if account is None else str(account.balance),
            payment_wallet=self._config.wallet.payment_address,
            gas_spent_day=str(self._transactions.paid_in_a_day),
            pending=self._deliveries.pending,
            block_seconds=round(median(self._intervals), 3) if self._intervals else None,
        )

    def report(self) -> dict[str, Any]:
        """All of it; `balance` in wei, ages and times until in seconds, `head_at` in ms since 1970.

        What is not known yet is None.
        """
        progress = None if self._listener is None else self._listener.progress
        account, block, age = self._account, self._block, self.block_age
        contracts = self._deployment.known()
        due = None if self._scheduler is None else self._scheduler.next_due
        next_due = None
        if due is not None:
            seconds, subscription, interval = due
            next_due = {
                "in": max(0, seconds - self._head.now()),
                "subscription": subscription,
                "interval": interval,
            }
        return {
            "chain_id": self._rpc.chain_id,
            "address": self._address,
            "balance": None if account is None else account.balance,
            "balance_age": None if account is None else round(self._account_age(), 1),
            "registration": account and account.registration and str(account.registration),
            "payment_wallet": self._config.wallet.payment_address or "",
            "head": None if block is None else block.number,
            "head_at": None if block is None else block.timestamp * 1000,
            "head_age": None if age is None else round(age, 1),
            "registry": self._config.registry_address,
            "coordinators": contracts,
            "next_id": progress.next_id or None if progress is not None else None,
            "next_read": progress.read_to if progress is not None else None,
            "followed": 0 if self._scheduler is None else len(self._scheduler),
            "next_due": next_due,
            "pending": self._deliveries.pending,
            "waits_for": self.waits_for(),
            "problems": self.problems(),
            "rpc": [
                {
                    "host": each.name,
                    "in_use": each.in_use,
                    "ok": not each.problem,
                    "reason": each.problem,
                    "requests": each.requests,
                    "refused": each.refused,
                }
                for each in self._rpc.servers()
            ],
        }


def _distinct(conditions: Iterable[Condition]) -> list[Condition]:
    """Those with a text, the first of those with the same."""
    found: dict[str, Condition] = {}
    for each in conditions:
        if each.text:
            found.setdefault(each.text, each)
    return list(found.values())


def _without_containers(containers: Sequence[Container]) -> str:
    """Why no container can serve a subscription, "" when one can."""
    if not containers:
        return "No container is configured, so no subscription can be served"
    if not any(container.external for container in containers):
        named = ", ".join(container.id for container in containers)
        return (
            f"No subscription can be served: external = false is set for all containers ({named}),"
            " so none may be the first of a chain"
        )
    return ""


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
