"""Subscriptions read through the Reader (1.x), as many at once as the server gives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from infernet_edge.chain.contracts.abi import (
    NEXT_ID,
    READ_REDUNDANCY_COUNT_BATCH,
    READ_SUBSCRIPTION_BATCH,
    UnexpectedReply,
    decode_subscriptions,
    eth_call,
)
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.contracts.subscription import SubscriptionV1
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

_GROWS_AFTER = 8  # pages that succeeded, before larger ones are tried again


Subscriptions = dict[int, SubscriptionV1]
"""Subscriptions by their ids."""


class SubscriptionPage(NamedTuple):
    """What one request returns; `next_id` is that of the coordinator."""

    next_id: int
    subscriptions: list[SubscriptionV1]
    answers: list[int]  # to the first interval of each


class SubscriptionReader:
    """Reads at most `batch_size` subscriptions with one call.

    Pages shrink when the server refuses them, and grow again later.
    """

    def __init__(self, rpc: RpcClient, deployment: Deployment, batch_size: int) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._max_size = batch_size
        self._size = batch_size
        self._succeeded = 0

    @property
    def page_size(self) -> int:
        """How many subscriptions a page may hold now."""
        return self._size

    async def read(self, first: int, limit: int, block: int) -> SubscriptionPage:
        """Read the subscriptions from an id on, as they are in a block; up to `limit` exist.

        All those that exist are in the page, or as many of them as it holds. It goes ahead of other
        calls. Raises RpcUnavailable.
        """
        coordinator = await self._deployment.coordinator("1.x")
        reader = await self._deployment.reader()
        tag = hex(block)
        while True:
            ids = range(first, first + max(1, min(self._size, limit)))
            asked = (
                (coordinator, NEXT_ID.encode()),
                (reader, READ_SUBSCRIPTION_BATCH.encode(ids.start, ids.stop)),
                (reader, READ_REDUNDANCY_COUNT_BATCH.encode(list(ids), [1] * len(ids))),
            )
            calls = [eth_call(*each, block=tag) for each in asked]
            answers = await self._rpc.batch(calls, priority=True)
            problem = next((each for each in answers if isinstance(each, RpcError)), None)
            if problem is None:
                break
            self._note_problem(problem, len(ids))
        self._note_success()
        # 25 ms for 500 subscriptions, several times that on a small board.
        return await asyncio.to_thread(_parse, answers, ids)

    async def read_again(self, ids: Sequence[int], pages: int, block: int) -> Subscriptions:
        """Read subscriptions that exist, as they are in a block, in so many pages at most.

        `ids` are in rising order. Those that are read are the first of them; when a page gets no
        answer, those of the others are returned nevertheless. Raises RpcUnavailable without any.
        """
        reader = await self._deployment.reader()
        while True:
            ranges = _pages(ids, self._size, pages)
            asked = [READ_SUBSCRIPTION_BATCH.encode(each.start, each.stop) for each in ranges]
            answers = await self._rpc.batch(
                [eth_call(reader, each, block=hex(block)) for each in asked]
            )
            answered = [
                (each, answer)
                for each, answer in zip(ranges, answers, strict=True)
                if not isinstance(answer, RpcError)
            ]
            if answered:
                self._note_success()
                return await asyncio.to_thread(_parse_pages, answered, frozenset(ids))
            largest = max(range(len(ranges)), key=lambda position: len(ranges[position]))
            self._note_problem(answers[largest], len(ranges[largest]))

    async def read_counts(self, intervals: Sequence[tuple[int, int]], block: int) -> list[int]:
        """How often each interval, (id, interval), is answered in a block.

        Those of the first ones are returned, `page_size` of them at most. Raises RpcUnavailable.
        """
        reader = await self._deployment.reader()
        while True:
            some = intervals[: self._size]
            ids, numbers = [each for each, _ in some], [number for _, number in some]
            asked = READ_REDUNDANCY_COUNT_BATCH.encode(ids, numbers)
            [answer] = await self._rpc.batch([eth_call(reader, asked, block=hex(block))])
            if not isinstance(answer, RpcError):
                break
            self._note_problem(answer, len(some))
        try:
            counts = list(READ_REDUNDANCY_COUNT_BATCH.decode(to_bytes(answer)))
        except UnexpectedReply as error:
            raise RpcUnavailable(f"The contracts of chain.registry_address: {error}") from None
        if len(counts) != len(some):
            raise RpcUnavailable(
                f"The reader of chain.registry_address gave {len(counts)} counts of {len(some)}"
            )
        return counts

    def _note_problem(self, problem: RpcError, size: int) -> None:
        """Shrink the pages after one of that size was refused. Raises RpcUnavailable otherwise."""
        if problem.is_transient or size == 1:
            raise RpcUnavailable(f"Subscriptions cannot be read: {problem}")
        self._size = size // 2
        log_event(logger, "listener.batch_shrunk", size=self._size, reason=str(problem))

    def _note_success(self) -> None:
        self._succeeded += 1
        if self._succeeded % _GROWS_AFTER == 0:
            self._size = min(self._max_size, self._size * 2)


def _pages(ids: Sequence[int], size: int, limit: int) -> list[range]:
    """The first ranges to read, `limit` of them and `size` long at most, that hold ids.

    The ids are in rising order.
    """
    found: list[range] = []
    for identifier in ids:
        if found and identifier < found[-1].start + size:
            found[-1] = range(found[-1].start, identifier + 1)
        elif len(found) == limit:
            break
        else:
            found.append(range(identifier, identifier + 1))
    return found


def _parse(answers: list[Any], ids: range) -> SubscriptionPage:
    """A page of the ids that exist. Raises RpcUnavailable when the contracts are others."""
    try:
        next_id, found, counts = (to_bytes(answer) for answer in answers)
        next_free = int(NEXT_ID.decode(next_id))
        subscriptions = decode_subscriptions(found)
        counted = list(READ_REDUNDANCY_COUNT_BATCH.decode(counts))
    except UnexpectedReply as error:
        raise RpcUnavailable(
            f"The contracts of chain.registry_address do not answer: {error}"
        ) from None
    if not len(subscriptions) == len(counted) == len(ids):
        raise RpcUnavailable(
            f"The reader of chain.registry_address gave {len(subscriptions)} subscriptions and"
            f" {len(counted)} counts, of {len(ids)}"
        )
    many = max(0, next_free - ids.start)
    return SubscriptionPage(next_free, subscriptions[:many], counted[:many])


def _parse_pages(pages: list[tuple[range, Any]], ids: frozenset[int]) -> Subscriptions:
    """The subscriptions with these ids. Raises RpcUnavailable when the contracts are others."""
    found: Subscriptions = {}
    for page, answer in pages:
        try:
            subscriptions = decode_subscriptions(to_bytes(answer))
        except UnexpectedReply as error:
            raise RpcUnavailable(f"The contracts of chain.registry_address: {error}") from None
        if len(subscriptions) != len(page):
            raise RpcUnavailable(
                f"The reader of chain.registry_address gave {len(subscriptions)} subscriptions"
                f" of {len(page)}"
            )
        found.update(
            (identifier, subscription)
            for identifier, subscription in zip(page, subscriptions, strict=True)
            if identifier in ids
        )
    return found
