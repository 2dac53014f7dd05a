"""Finds the subscriptions that contracts make at the coordinator of SDK 1.x.

Each look at the chain asks for the id that the next subscription will have, and for the logs of
cancellations and of the node's wallet. When there are new ids, they are read through the Reader in
batches, `chain.trail_head_blocks` behind the head; at start that is all that came meanwhile. How
far the listener is, is stored with what it has found.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from infernet_edge.chain import proofs
from infernet_edge.chain.contracts import (
    NEXT_ID,
    READ_REDUNDANCY_COUNT_BATCH,
    READ_SUBSCRIPTION_BATCH,
    SUBSCRIPTION_CANCELLED,
    UnexpectedReply,
    decode_subscriptions,
    eth_call,
)
from infernet_edge.chain.deployment import Deployment, to_bytes
from infernet_edge.chain.head import Block, Head
from infernet_edge.chain.rpc import Call, Rpc, RpcError, RpcUnavailable
from infernet_edge.chain.rules import SubscriptionRules
from infernet_edge.chain.schedule import MOST_FOLLOWED, Schedule
from infernet_edge.chain.subscription import SubscriptionV1
from infernet_edge.chain.subscriptions import Known, SubscriptionStore
from infernet_edge.config.tree import Chain
from infernet_edge.errors import ApiError, StorageError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5  # seconds before what failed is tried again; doubles
_LONGEST_PAUSE = 30.0
_PROGRESS_PERIOD = 10.0  # seconds between two lines of a long sync
_MOST_BLOCKS = 500  # of which servers give the logs at once, so that the smallest limits suffice
_DEEPEST_REORG = 64  # blocks after which a subscription counts as settled
_REMEMBERED = 1000  # subscriptions that may be taken back by a reorganisation
_TOLD_EACH = 20  # new subscriptions at once that get a line each


class _Page(NamedTuple):
    """What one request to the Reader says; `next_id` is that of the coordinator."""

    next_id: int
    subscriptions: list[SubscriptionV1]
    answers: list[int]  # to the first interval of each


class Claims(Protocol):
    """Tells which subscriptions of contracts the node serves as delegated requests already."""

    async def claimed(self, found: Sequence[Known]) -> set[int]:
        """The ids of those. Raises RpcUnavailable, StorageError."""


class Listener:
    """Follows the coordinator, as a watcher of the head, and fills the schedule."""

    def __init__(
        self,
        rpc: Rpc,
        head: Head,
        deployment: Deployment,
        config: Chain,
        store: SubscriptionStore,
        rules: SubscriptionRules,
        schedule: Schedule,
        claims: Claims,
        verdicts: proofs.Proofs | None,
    ) -> None:
        self._rpc = rpc
        self._head = head
        self._deployment = deployment
        self._trail = config.trail_head_blocks
        self._sync = config.snapshot_sync
        self._store = store
        self._rules = rules
        self._schedule = schedule
        self._claims = claims
        self._proofs = verdicts
        self._size = config.snapshot_sync.batch_size
        self._next_id = 1
        self._coordinator = ""
        self._reader = ""
        self._wanted = asyncio.Event()  # there is something to read
        self._newest_id = 0  # the next id that the last look saw; 0: there was none yet
        self._read_block = 0  # as of which was read last
        self._last: Block | None = None  # the newest block that was seen
        self._doubted: Block | None = None  # whether it is still there is to be asked
        self._logs_read = -1  # the block up to which logs were read; -1: from the next look on
        self._logs: deque[dict[str, Any]] = deque()  # that wait to be told
        self._recheck = False  # logs were missed: read again what is followed
        self._replaced: int | None = None  # the oldest block that may have been replaced
        self._recent: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # block, id

    async def run(self) -> None:
        """Listen for ever."""
        await self._patiently(self._begin)
        self._head.watch(self)
        while True:
            await self._patiently(self._work)
            await self._wanted.wait()

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something, again and again while the server or the disk prevents it."""
        pause, told = _FIRST_PAUSE, ""
        while True:
            try:
                return await work()
            except (RpcUnavailable, StorageError) as error:
                if str(error) != told:
                    told = str(error)
                    log_event(logger, "listener.waits", logging.WARNING, reason=told)
            except Exception:
                # A mistake of ours must not end the listener in silence.
                logger.exception("listener.broken")
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _begin(self) -> None:
        """Find the contracts, and take up what an earlier run followed."""
        await self._head.seen.wait()
        self._coordinator = await self._deployment.coordinator("1.x")
        self._reader = await self._deployment.reader()
        first = max(1, self._sync.starting_sub_id)
        fingerprint = f"{first}:{self._rules.fingerprint}"
        self._next_id, known = await self._store.begin(first, fingerprint)
        log_event(logger, "listener.started", next_id=self._next_id, followed=len(known))
        for each in known:
            self._schedule.follow(each)
        self._wanted.set()

    # Looking

    def questions(self) -> list[Call]:
        """The next id, the logs since the last look, and whether a block is still there."""
        asked = [eth_call(self._coordinator, NEXT_ID.encode()), self._logs_question()]
        if self._doubted is not None:
            asked.append(("eth_getBlockByNumber", [hex(self._doubted.number), False]))
        return asked

    def _logs_question(self) -> Call:
        latest = self._head.latest
        newest = 0 if latest is None else latest.number
        # Servers refuse to look for logs in blocks that they do not have yet.
        first = newest if self._logs_read < 0 else min(newest, self._logs_read + 1)
        addresses, topics = [self._coordinator], [SUBSCRIPTION_CANCELLED]
        if self._proofs is not None:
            addresses.append(self._proofs.wallet)
            topics += proofs.TOPICS
        return (
            "eth_getLogs",
            [{"address": addresses, "topics": [topics], "fromBlock": hex(first)}],
        )

    def answers(self, block: Block, answers: list[Any]) -> None:
        """Note what there is to do."""
        next_id, logs, *rest = answers
        self._look_for_reorganisation(block, *rest)
        self._take_logs(block, logs)
        try:
            self._newest_id = int(NEXT_ID.decode(to_bytes(next_id)))
        except UnexpectedReply:
            return
        if self._newest_id != self._next_id:
            self._wanted.set()

    def _look_for_reorganisation(self, block: Block, found: Any = None) -> None:
        """Compare with the block that was the newest before; it is asked for after a jump."""
        last, doubted = self._last, self._doubted
        self._doubted = None
        replaced = doubted is not None and _is_another(found, doubted)
        if last is not None and block.number <= last.number:
            replaced = replaced or (block.number == last.number and block.hash != last.hash)
        elif last is not None and block.number == last.number + 1:
            replaced = replaced or block.parent not in ("", last.hash)
        else:
            self._doubted = last
        if last is None or block.number >= last.number or replaced:
            self._last = block
        if replaced:
            self._note_reorganisation(block)

    def _take_logs(self, block: Block, answer: list[Any] | RpcError) -> None:
        """Keep the logs that are deep enough; the others come again with the next look."""
        deep = block.number - self._trail
        if self._logs_read < 0:
            # What earlier logs say is seen by reading, from here on nothing is missed.
            self._logs_read = deep
            self._recheck = True
            self._wanted.set()
            return
        if isinstance(answer, RpcError):
            if deep - self._logs_read > _MOST_BLOCKS:
                log_event(logger, "listener.logs_missed", logging.WARNING, reason=str(answer))
                self._logs_read = deep
                self._recheck = True
                self._wanted.set()
            return
        for log in answer:
            number = _block_number(log)
            if self._logs_read < number <= deep:
                self._logs.append(log)
                self._wanted.set()
        self._logs_read = max(self._logs_read, deep)

    def _note_reorganisation(self, block: Block) -> None:
        """Blocks were replaced: what was found in the newest ones has to be read again."""
        oldest = block.number - _DEEPEST_REORG + 1
        doubtful = len(self._read_since(oldest))
        log_event(
            logger, "chain.reorganised", logging.WARNING, block=block.number, doubtful=doubtful
        )
        self._recheck = True
        self._replaced = oldest if self._replaced is None else min(oldest, self._replaced)
        self._wanted.set()

    def _read_since(self, block: int) -> list[int]:
        """The ids of what was read since a block."""
        return [identifier for number, identifier in self._recent if number >= block]

    # Working

    async def _work(self) -> None:
        """Read what the looks have found."""
        self._wanted.clear()
        while self._logs:
            await self._tell(list(self._logs))
        if self._recheck:
            self._recheck = False  # first: it may be wanted again meanwhile
            try:
                await self._look_again()
            except BaseException:
                self._recheck = True
                raise
        if self._replaced is not None:
            self._next_id = min([self._next_id, *self._read_since(self._replaced)])
            self._replaced = None
        await self._read()

    async def _look_again(self) -> None:
        """Ask for the state of all that is followed."""
        await self._schedule.check(self._schedule.ids())
        if self._proofs is not None:
            await self._proofs.look()

    async def _tell(self, logs: list[dict[str, Any]]) -> None:
        """Hand on what logs say; they are forgotten when all is noted."""
        for log in logs:
            topics = log.get("topics") or [""]
            if topics[0] == SUBSCRIPTION_CANCELLED and len(topics) > 1:
                await self._schedule.check([int(topics[1], 16)])
        if self._proofs is not None:
            await self._proofs.note(logs)
        for _ in logs:
            self._logs.popleft()

    async def _read(self) -> None:
        """Read from the next id up to the newest subscription that is deep enough."""
        if self._next_id == self._newest_id:
            return  # it was read before the look that asked for it was over
        began = told = time.monotonic()
        first, tally = self._next_id, Counter[str]()
        while True:
            page = await self._page()
            if page.subscriptions:
                found = await self._judge(page, tally)
                self._next_id += len(page.subscriptions)
                self._tell_found(found, few=self._next_id - first <= _TOLD_EACH)
            if self._next_id >= page.next_id:
                break
            if time.monotonic() - told > _PROGRESS_PERIOD:
                told = time.monotonic()
                self._tell_progress("listener.syncing", first, page.next_id, tally)
            await asyncio.sleep(self._sync.sleep)
        if self._next_id - first > _TOLD_EACH:
            seconds = round(time.monotonic() - began, 1)
            self._tell_progress("listener.synced", first, page.next_id, tally, seconds=seconds)

    async def _page(self) -> _Page:
        """Read as many subscriptions as the server gives at once."""
        latest = self._head.latest
        if latest is None:
            raise RpcUnavailable("No block is known yet")
        block = max(0, latest.number - self._trail)
        tag = hex(block)
        while True:
            ids = range(self._next_id, self._next_id + self._next_size())
            answers = await self._rpc.batch(
                [
                    eth_call(self._coordinator, NEXT_ID.encode(), block=tag),
                    eth_call(
                        self._reader,
                        READ_SUBSCRIPTION_BATCH.encode(ids.start, ids.stop),
                        block=tag,
                    ),
                    eth_call(
                        self._reader,
                        READ_REDUNDANCY_COUNT_BATCH.encode(list(ids), [1] * len(ids)),
                        block=tag,
                    ),
                ]
            )
            problem = next((each for each in answers if isinstance(each, RpcError)), None)
            if problem is None:
                break
            if problem.is_passing or len(ids) == 1:
                raise RpcUnavailable(f"Subscriptions cannot be read: {problem}")
            self._size = len(ids) // 2
            log_event(logger, "listener.batch_shrunk", size=self._size, reason=str(problem))
        # 25 ms for 500 subscriptions, several times that on a small board.
        page = await asyncio.to_thread(_parse, answers, ids.start)
        if page.next_id < self._next_id and block >= self._read_block:
            self._take_back(page.next_id)
        self._read_block = max(self._read_block, block)
        return page

    def _next_size(self) -> int:
        """How many ids to read at once: no more than there are, as far as that is known."""
        return min(
            self._size, max(1, self._newest_id - self._next_id) if self._newest_id else 2**32
        )

    async def _judge(self, page: _Page, tally: Counter[str]) -> list[Known]:
        """Choose what to follow of a page, and store it together with how far the listener is."""
        found: list[Known] = []
        now, block = self._head.now(), self._head.latest
        numbered = enumerate(zip(page.subscriptions, page.answers, strict=True), self._next_id)
        for identifier, (subscription, count) in numbered:
            if block is not None:
                self._recent.append((block.number, identifier))
            if not subscription.exists:
                tally["unknown"] += 1
            elif subscription.is_cancelled:
                tally["cancelled"] += 1
            elif subscription.interval_at(now) > subscription.last_interval:
                tally["expired"] += 1
            elif subscription.last_interval == 1 and count >= subscription.redundancy:
                tally["completed"] += 1
            elif not self._is_followed(identifier, subscription):
                found.append(self._by_rules(Known(identifier, subscription)))
        wanted = [known for known in found if known.state == "active"]
        claimed = await self._claims.claimed(wanted) if wanted else set()
        found = [known for known in found if known.id not in claimed]
        await self._store.save(found, self._next_id + len(page.subscriptions))
        for known in found:
            tally[known.state] += 1
            if known.state == "active":
                self._schedule.follow(known)
        tally.update(["delegated"] * len(claimed))
        return found

    def _is_followed(self, identifier: int, subscription: SubscriptionV1) -> bool:
        """Whether it is known already; another one with its id makes room."""
        if identifier not in self._schedule:
            return False
        if self._schedule.subscription(identifier).subscription == subscription:
            return True
        self._schedule.remove(identifier)
        return False

    def _by_rules(self, known: Known) -> Known:
        try:
            known.containers = self._rules.check(known.subscription, delegated=False)
            if len(self._schedule) >= MOST_FOLLOWED:
                known.state, known.reason = "ignored", f"{MOST_FOLLOWED} are followed already"
        except ApiError as error:
            told = "".join(f", {name} {value}" for name, value in error.params.items())
            known.state, known.reason = "ignored", f"{error.message}{told}"
        return known

    def _take_back(self, next_id: int) -> None:
        """The chain has fewer subscriptions than were read: it was reorganised."""
        for identifier in self._schedule.ids():
            if identifier >= next_id:
                self._schedule.remove(identifier)
        self._next_id = next_id

    def _tell_found(self, found: list[Known], *, few: bool) -> None:
        for known in found:
            if known.state == "active" or few:
                _tell(known)

    def _tell_progress(
        self, event: str, first: int, next_id: int, tally: Counter[str], **more: Any
    ) -> None:
        fields: dict[str, Any] = {"done": self._next_id - first, "of": next_id - first, **more}
        fields.update(sorted(tally.items()))
        log_event(logger, event, **fields)


def _tell(known: Known) -> None:
    subscription = known.subscription
    fields: dict[str, Any] = {
        "subscription": known.id,
        "owner": subscription.owner,
        "containers": ",".join(known.containers),
        "frequency": subscription.frequency,
        "period": subscription.period,
        "redundancy": subscription.redundancy,
    }
    if subscription.payment.amount:
        fields |= {
            "amount": subscription.payment_amount,
            "token": subscription.payment_token,
            "wallet": subscription.wallet,
        }
    followed = known.state == "active"
    event = "subscription.found" if followed else "subscription.ignored"
    log_event(logger, event, **fields, reason=known.reason)


def _parse(answers: list[Any], first: int) -> _Page:
    """A page of the ids that exist. Raises RpcUnavailable when the contracts are others."""
    try:
        next_id, found, counts = (to_bytes(answer) for answer in answers)
        newest = int(NEXT_ID.decode(next_id))
        many = max(0, newest - first)
        counted = READ_REDUNDANCY_COUNT_BATCH.decode(counts)
        return _Page(newest, decode_subscriptions(found)[:many], list(counted)[:many])
    except UnexpectedReply as error:
        raise RpcUnavailable(f"The contracts of chain.registry_address: {error}") from None


def _is_another(answer: Any, known: Block) -> bool:
    """Whether a block has taken the place of one that was seen."""
    return isinstance(answer, dict) and answer.get("hash") not in (None, known.hash)


def _block_number(log: Any) -> int:
    """The block of a log; -1 when it says none."""
    try:
        return int(log["blockNumber"], 16)
    except (KeyError, TypeError, ValueError):
        return -1
