"""The on-chain half of the node: how its parts are composed, and where requests come in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec

from infernet_edge.chain.contracts.delegation import DelegatedRequest, parse_request, parse_signed
from infernet_edge.chain.contracts.reader import SubscriptionReader
from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.delivery import proofs
from infernet_edge.chain.delivery import table as deliveries
from infernet_edge.chain.delivery.coordinator import Coordinator
from infernet_edge.chain.delivery.delegated_data import DelegatedData
from infernet_edge.chain.delivery.escrow import Escrow
from infernet_edge.chain.delivery.events import NoDeliveryEvents
from infernet_edge.chain.delivery.next_block import NextBlock
from infernet_edge.chain.delivery.processor import DeliveryProcessor
from infernet_edge.chain.delivery.proofs import Proofs
from infernet_edge.chain.delivery.record import ANSWERED, Delivery, OpenDelivery
from infernet_edge.chain.delivery.recovery import RecoveryCheck
from infernet_edge.chain.delivery.steps import DeliverySteps
from infernet_edge.chain.delivery.store import LAST_NUMBER, DeliveryStore
from infernet_edge.chain.events import ChainEvents
from infernet_edge.chain.guard.container_lookup import ContainerLookup
from infernet_edge.chain.guard.rules import SubscriptionRules, check_expiry
from infernet_edge.chain.guard.signer import SignerCheck
from infernet_edge.chain.operator_report import (
    report_delivery,
    report_subscription,
    subscription_item,
)
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.status import ChainStatus, Condition
from infernet_edge.chain.subscriptions import store as subscriptions
from infernet_edge.chain.subscriptions.delegated import DelegatedSubscriptions
from infernet_edge.chain.subscriptions.listener import Listener
from infernet_edge.chain.subscriptions.scheduler import Scheduler
from infernet_edge.chain.subscriptions.store import LAST_ID, SubscriptionStore
from infernet_edge.chain.txm import store as transaction_store
from infernet_edge.chain.txm.manager import TransactionManager
from infernet_edge.chain.txm.store import TransactionStore
from infernet_edge.chain.wallet.keystore import load_account
from infernet_edge.config.model import Config
from infernet_edge.errors import Conflict, Refused, StorageError, Unavailable
from infernet_edge.events.bus import Events
from infernet_edge.http_client.client import HttpClient
from infernet_edge.jobs.checking.inputs import InputSchemas
from infernet_edge.jobs.contents import Buffer
from infernet_edge.jobs.orchestrator import Orchestrator
from infernet_edge.logs import log_event
from infernet_edge.memory import MemoryBudget
from infernet_edge.metrics.measurements import ChainMeasurements
from infernet_edge.schema import ChainSummary
from infernet_edge.storage.database import Database
from infernet_edge.storage.elapsed import AgeMarks, ElapsedTime
from infernet_edge.tasks import Background, Deadline

logger = logging.getLogger(__name__)

MIGRATIONS: Final = {
    "transactions": transaction_store.MIGRATIONS,
    "deliveries": deliveries.MIGRATIONS,
    "subscriptions": subscriptions.MIGRATIONS,
    "proofs": proofs.MIGRATIONS,
}

"""See Database: how many steps an earlier version must know."""

_KEPT = 30 * 24 * 3600 * 1000  # milliseconds for which ended deliveries are listed, at least
_DATA_PARTS = 4  # of the storage; one is the limit of the inputs of delegated requests
_MAX_STORED = 1000  # deliveries that are stored and not begun yet
_COUNTED: Final = ("accepted", "delivered", ANSWERED, "failed", "skipped")  # states
_PRUNE_PERIOD = 6 * 3600.0  # seconds
# Seconds in which the chain may answer before a request is accepted unchecked. The official client
# waits for 5 seconds at most.
_CHECK_TIMEOUT = 3.0


class ChainSubsystem:
    """Serves one chain. Nothing of the off-chain half waits for it."""

    def __init__(
        self,
        config: Config,
        database: Database,
        orchestrator: Orchestrator,
        http: HttpClient,
        check_storage: Callable[[], None],
        memory: MemoryBudget,
        elapsed: ElapsedTime,
        background: Background,
        events: Events,
    ) -> None:
        """`check_storage` raises Unavailable when there is no room for new requests.

        `background` runs the perpetual tasks, and reports those that fail.
        """
        self._config = config
        self._database = database
        self._stopped = False
        self._orchestrator = orchestrator
        self._check_storage = check_storage
        self._background = background
        urls = config.chain.rpc_url
        self._rpc = RpcClient(http, [urls] if isinstance(urls, str) else urls)
        self.head = HeadTracker(self._rpc, config.chain.snapshot_sync.sync_period)
        self._deployment = Deployment(config.chain, self._rpc)
        batch_size = config.chain.snapshot_sync.batch_size
        self._reader = SubscriptionReader(self._rpc, self._deployment, batch_size)
        self._signer = SignerCheck(self._rpc, self._deployment)
        self._transactions = TransactionStore(database)
        self._elapsed = elapsed
        self._marks = AgeMarks(database, elapsed)
        self.deliveries = DeliveryStore(
            database,
            config.jobs.max_pending,
            held=memory.reserve("deliveries"),
            max_data=config.storage.max_bytes // _DATA_PARTS,
        )
        self._rules = SubscriptionRules(config, ContainerLookup(config))
        self._schemas = InputSchemas(config.containers)
        self._subscriptions = SubscriptionStore(database, config.chain.registry_address)
        self._chain_events = ChainEvents(events)
        self.head.on_problem = self._chain_events.head_problem
        self.deliveries.on_stored = self._chain_events.delivery_stored
        self._subscriptions.on_stored = self._chain_events.subscriptions_stored
        self._sender: TransactionManager | None = None
        self._processor: DeliveryProcessor | None = None
        self._status: ChainStatus | None = None
        self.proofs: Proofs | None = None
        self._stack = AsyncExitStack()
        self.address = ""

    async def prepare(self, config: Config) -> Callable[[], None]:
        """Prepare for other containers and limits; returns what puts them in force."""
        lookup = await asyncio.to_thread(ContainerLookup, config)

        def apply() -> None:
            self._rules.apply(config, lookup)
            self._schemas.apply(config.containers)
            self.deliveries.max_pending = config.jobs.max_pending
            self.deliveries.max_data = config.storage.max_bytes // _DATA_PARTS
            if self._status is not None:
                self._status.apply(config)

        return apply

    @property
    def pending(self) -> int:
        """Deliveries that are not finished."""
        return self.deliveries.pending

    @property
    def problem(self) -> str:
        """Why the chain cannot be reached, or why transactions wait; "" for no problem."""
        hindrances = [] if self._sender is None else self._sender.problems
        return "; ".join(filter(None, [self._rpc.problem, *hindrances]))

    @property
    def measurements(self) -> ChainMeasurements | None:
        """What is counted for the metrics; None before the start. Asks no server."""
        if self._sender is None or self._status is None:
            return None
        block, counts = self.head.latest, self.deliveries.counts
        return ChainMeasurements(
            head_block=None if block is None else block.number,
            head_age=self._status.block_age,
            balance=self._sender.balance,
            gas=self._sender.paid,
            deliveries={state: counts[state] for state in _COUNTED},
            rpc_requests=self._rpc.outcomes,
        )

    async def status(self) -> dict[str, Any] | None:
        """The state of the chain for the operator, see ChainStatus; None before the start.

        Takes some seconds at most.
        """
        if self._status is None:
            return None
        await self._status.refresh()
        return self._status.report()

    async def summary(self) -> ChainSummary | None:
        """The state of the chain in short; None before the start. Takes some seconds at most."""
        if self._status is None:
            return None
        await self._status.refresh()
        return self._status.summary()

    def conditions(self) -> list[Condition]:
        """What prevents deliveries, as far as is known without asking the chain."""
        return [] if self._status is None else self._status.conditions()

    async def start(self) -> None:
        """Load the key and resume what an earlier run left; the chain itself may be down.

        Raises StartupError when the key cannot be used.
        """
        account = await asyncio.to_thread(load_account, self._config.chain.wallet)
        self.address = account.address
        config, stack = self._config.chain, self._stack
        stack.push_async_callback(self._rpc.close)
        transactions = self._sender = TransactionManager(
            self._rpc, account, self._transactions, config, self.head, self._elapsed.now
        )
        coordinator = Coordinator(
            config,
            self._rpc,
            self.head,
            self._deployment,
            self._signer,
            DelegatedData(self._database),
            self.address,
            self._config.server.max_body_bytes,
        )
        escrow = None
        if wallet := config.wallet.payment_address:
            escrow = Escrow(self._rpc, transactions, wallet)
            self.proofs = Proofs(self._rpc, self._deployment, self._database, wallet, self.address)
        stack.push_async_callback(transactions.stop)
        await transactions.load()
        stored: asyncio.Queue[OpenDelivery] = asyncio.Queue(_MAX_STORED)
        scheduler = self._make_scheduler(stored) if self._deployment.serves("1.x") else None
        next_block = NextBlock(transactions.in_flight)
        self.head.watch(next_block)
        stack.callback(self.head.unwatch, next_block)
        steps = DeliverySteps(
            self.deliveries,
            coordinator,
            self._orchestrator,
            transactions,
            next_block,
            self._schemas,
            escrow,
            self.proofs,
        )
        processor = self._processor = DeliveryProcessor(
            self.deliveries,
            coordinator,
            steps,
            self.head,
            RecoveryCheck(self._deployment, self._rules),
            stored,
            NoDeliveryEvents() if scheduler is None else scheduler,
        )
        stack.push_async_callback(processor.stop)
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "deliveries": processor.run,
            "head of the chain": self.head.run,
            "pruning of deliveries": self._prune,
        }
        listener = None
        if scheduler is not None:
            self.head.watch(scheduler)
            stack.push_async_callback(scheduler.stop)
            listener = self._make_listener(scheduler)
            work["listener"] = listener.run
        self._status = ChainStatus(
            self._config,
            self._rpc,
            self.head,
            self._deployment,
            self.deliveries,
            self.address,
            transactions,
            listener,
            scheduler,
        )
        self.head.watch(self._status)
        self._chain_events.stillness = self._status.stillness
        self.head.watch(self._chain_events)
        await processor.start()
        stack.push_async_callback(self._background.stop, *work)
        for name, each in work.items():
            self._background.supervise(name, each)
        log_event(logger, "chain.started", address=self.address)

    def _make_scheduler(self, stored: asyncio.Queue[OpenDelivery]) -> Scheduler:
        """Make what begins the intervals of contracts' subscriptions."""
        return Scheduler(
            self._rpc,
            self.head,
            self._deployment,
            self._subscriptions,
            self.deliveries,
            stored,
            self._reader,
            self._config.chain.trail_head_blocks,
        )

    def _make_listener(self, scheduler: Scheduler) -> Listener:
        """Make what finds the subscriptions that contracts create."""
        return Listener(
            self._rpc,
            self.head,
            self._deployment,
            self._config.chain,
            self._subscriptions,
            self._rules,
            self._reader,
            scheduler,
            DelegatedSubscriptions(self._rpc, self._deployment, self.deliveries),
            self.proofs,
        )

    async def _prune(self) -> None:
        """Delete what ended long ago, so that the file does not grow without limit."""
        while True:
            try:
                await self._transactions.prune(await self._marks.older_than("transactions", _KEPT))
                old = await self._marks.older_than("deliveries", _KEPT)
                await self.deliveries.prune(old)
                if self.proofs is not None:
                    await self.proofs.prune(old)
            except StorageError as error:
                log_event(logger, "deliveries.prune_failed", logging.WARNING, reason=str(error))
            await asyncio.sleep(_PRUNE_PERIOD)

    async def stop(self) -> None:
        """Shut down; everything resumes at the next start. May be called twice."""
        self._stopped = True
        await self._stack.aclose()

    def deadline(self) -> Deadline:
        """Until when the chain may answer requests that come now."""
        return Deadline(_CHECK_TIMEOUT)

    async def accept(self, request: Buffer, client: str, deadline: Deadline | None = None) -> None:
        """Accept a delegated subscription; when this returns it is on the disk.

        Raises BadRequest, Refused, Conflict, Unavailable. What the chain cannot say now is checked
        before anything is computed. The checks have until the deadline; without one, as long as
        a request may take.
        """
        if self._stopped:
            raise Unavailable("The node is shutting down")
        self._check_storage()
        parsed = parse_request(request)
        if self._processor is None or not self._deployment.serves(parsed.generation):
            raise Refused("Chain not enabled", {"generation": parsed.generation})
        if self.head.latest is not None:  # else only this machine's date is known
            check_expiry(parsed.signature.expiry, self.head.now())
        if parsed.subscription.is_cancelled:  # it would wait for the year 2106
            raise Refused("Subscription is cancelled", {"owner": parsed.subscription.owner})
        containers = self._rules.check(parsed.subscription, delegated=True)
        await self._schemas.check(containers[0], parsed.data)
        verified = await self._verify(parsed, deadline or self.deadline())
        delivery = OpenDelivery(
            number=0,
            generation=parsed.generation,
            anchor=self._deployment.anchor(parsed.generation).lower(),
            owner=parsed.subscription.owner,
            nonce=parsed.signature.nonce,
            subscription_id=None,
            interval=self._interval(parsed),
            containers=containers,
            state="accepted",
            verified=verified,
            client=client,
            request=parsed.signed,
            subscription=parsed.subscription,
            signed=msgspec.structs.replace(parsed, data=b""),  # which would hold the whole body
        )
        known = await self.deliveries.add(delivery, parsed.data)
        if known is None:
            self._processor.begin(delivery)
        else:
            await _check_same(known, parsed)

    async def _verify(self, request: DelegatedRequest, deadline: Deadline) -> bool:
        """Whether the signature could be checked. Raises Refused when it is wrong."""
        try:
            async with deadline.limiting():
                await self._signer.verify(request)
        except (RpcUnavailable, TimeoutError):
            return False
        except Refused:
            deadline.extend()
            raise
        deadline.extend()
        return True

    def _interval(self, request: DelegatedRequest) -> int:
        """The interval from which on it can be answered: the present one, as far as is known."""
        if self.head.latest is None:  # only this machine's date is known
            return 1
        return max(1, request.subscription.interval_at(self.head.now()))

    async def subscription_page(
        self, limit: int, before: int | None, state: str
    ) -> list[dict[str, Any]]:
        """Subscriptions of contracts, newest first; `state` is "served", "skipped" or "" for all.

        `before`: only smaller ids. Raises StorageError.
        """
        ignored = {"served": False, "skipped": True, "": None}[state]
        end = LAST_ID if before is None else before
        known = await self._subscriptions.newest(limit, ignored=ignored, before=end)
        return [subscription_item(each, self.head.now()) for each in known]

    async def delivery_page(self, limit: int, before: int | None) -> list[dict[str, Any]]:
        """Deliveries, newest first; `before`: only smaller numbers. Raises StorageError."""
        end = LAST_NUMBER if before is None else before
        return await self._reported(await self.deliveries.newest(limit, before=end))

    async def _reported(self, found: Sequence[Delivery]) -> list[dict[str, Any]]:
        numbers = [each.number for each in found]
        verdicts = await self.proofs.verdicts(numbers) if self.proofs is not None else {}
        fees = await self._transactions.fees_of(numbers)
        return [
            report_delivery(each, verdicts.get(each.number, ""), fees.get(each.number))
            for each in found
        ]

    async def report(self, limit: int, *, skipped: bool = False) -> dict[str, Any]:
        """Deliveries and subscriptions for the operator, newest first; times in ms since 1970.

        With them comes the state of the chain: it says why there are none.
        `skipped`: those that this node does not serve, each with its reason.
        """
        found = await self.deliveries.newest(limit, skipped=skipped)
        known = await self._subscriptions.newest(limit, ignored=skipped)
        return {
            "chain": await self.status(),
            "deliveries": await self._reported(found),
            "subscriptions": [report_subscription(each) for each in known],
        }


async def _check_same(known: Delivery, request: DelegatedRequest) -> None:
    """Raise Conflict unless a request is the one that its nonce stands for already."""
    params = {"owner": known.owner, "nonce": known.nonce}
    if known.damaged:
        raise Conflict("Nonce used by a request that was damaged on the disk", params)
    if known.request == request.signed:
        return
    # Milliseconds, and some more for a request of an earlier version, which holds its input.
    before = await asyncio.to_thread(parse_signed, known.request)
    if before.subscription != request.subscription:
        raise Conflict("Nonce already used for another subscription", params)
    if not known.verified and before.signature != request.signature:
        raise Conflict("Nonce already used by a request that is not verified yet", params)
