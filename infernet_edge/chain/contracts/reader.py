"""Subscriptions read through the Reader (1.x), as many at once as the server gives."""

from __future__ import annotations

import asyncio
import logging
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


class SubscriptionPage(NamedTuple):
    """What one request returns; `next_id` is that of the coordinator."""

    next_id: int
    subscriptions: list[SubscriptionV1]
    answers: list[int]  # to the first interval of each


class SubscriptionReader:
    """Reads at most `batch_size` subscriptions in one request.

    Pages shrink when the server refuses them, and grow again later.
    """

    def __init__(self, rpc: RpcClient, deployment: Deployment, batch_size: int) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._max_size = batch_size
        self._size = batch_size
        self._succeeded = 0

    async def read(self, first: int, limit: int, block: int) -> SubscriptionPage:
        """Read the subscriptions from an id on, as they are in a block; up to `limit` exist.

        All those that exist are in the page, or as many of them as it holds. Raises RpcUnavailable.
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
            answers = await self._rpc.batch([eth_call(*each, block=tag) for each in asked])
            problem = next((each for each in answers if isinstance(each, RpcError)), None)
            if problem is None:
                break
            if problem.is_transient or len(ids) == 1:
                raise RpcUnavailable(f"Subscriptions cannot be read: {problem}")
            self._size = len(ids) // 2
            log_event(logger, "listener.batch_shrunk", size=self._size, reason=str(problem))
        self._note_success()
        # 25 ms for 500 subscriptions, several times that on a small board.
        return await asyncio.to_thread(_parse, answers, ids)

    def _note_success(self) -> None:
        self._succeeded += 1
        if self._succeeded % _GROWS_AFTER == 0:
            self._size = min(self._max_size, self._size * 2)


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
