"""Which subscriptions on the chain are those that delegated requests to this node have made.

The first delivery of a delegated request creates the subscription; the node serves it further
as the request says, whichever node was the first to deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from infernet_edge.chain.contracts.abi import (
    DELEGATE_CREATED_IDS,
    UnexpectedReply,
    delegation_key,
    eth_call,
)
from infernet_edge.chain.contracts.registry import Deployment, to_bytes
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.rpc.client import RpcClient, RpcUnavailable
from infernet_edge.chain.subscriptions.store import KnownSubscription


class DelegatedSubscriptions:
    """Reads from the coordinator which ids the requests of an owner have got."""

    def __init__(self, rpc: RpcClient, deployment: Deployment, deliveries: DeliveryStore) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._deliveries = deliveries

    async def claimed(self, found: Sequence[KnownSubscription], block: int) -> set[int]:
        """The ids of those that a delegated request stands for, as of the block of their reading.

        Raises RpcUnavailable, StorageError.
        """
        claimed: set[int] = set()
        by_owner = sorted(found, key=lambda known: known.subscription.owner)
        for owner, group in groupby(by_owner, key=lambda known: known.subscription.owner):
            nonces = await self._nonces(owner, list(group))
            if nonces:
                claimed |= await self._ids(owner, nonces, block)
        return claimed

    async def _nonces(self, owner: str, found: Sequence[KnownSubscription]) -> list[int]:
        """The nonces of an owner's requests that may have made one of its subscriptions."""
        subscriptions = [known.subscription for known in found]
        return [
            nonce
            for nonce, subscription in await self._deliveries.delegated_by(owner)
            if subscription is None or subscription in subscriptions
        ]

    async def _ids(self, owner: str, nonces: Sequence[int], block: int) -> set[int]:
        coordinator = await self._deployment.coordinator("1.x")
        questions = [
            eth_call(
                coordinator,
                DELEGATE_CREATED_IDS.encode(delegation_key(owner, nonce)),
                block=hex(block),
            )
            for nonce in nonces
        ]
        try:
            return {
                int(DELEGATE_CREATED_IDS.decode(to_bytes(answer)))
                for answer in await self._rpc.batch(questions)
            }
        except UnexpectedReply as error:
            raise RpcUnavailable(f"The ids of delegated subscriptions: {error}") from None
