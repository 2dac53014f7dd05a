"""The events of the chain for clients: its head, deliveries, subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from infernet_edge.chain.delivery.record import Delivery
from infernet_edge.chain.rpc.client import Call
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.subscriptions.store import KnownSubscription
from infernet_edge.events.bus import Events


class ChainEvents:
    """Publishes them. A watcher of the head, which is notified with each poll."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._block = ""
        self._is_still = False
        self.stillness: Callable[[], str] = str
        """Why the head stands still; "" when it does not."""

    def questions(self) -> list[Call]:
        """Nothing: the block alone is enough."""
        return []

    def answers(self, block: BlockHeader, answers: list[Any]) -> None:
        """Publish a new head, or once that there is none for long."""
        if block.hash != self._block:
            self._block, self._is_still = block.hash, False
            fields = {"number": block.number, "timestamp": block.timestamp}
            self._events.publish("head.advanced", fields)
        if not self._is_still and (reason := self.stillness()):
            self._is_still = True
            self._events.publish("head.stalled", {"reason": reason})

    def head_problem(self, problem: str) -> None:
        """Publish that no server gives the head, or, for "", that one does again."""
        if problem:
            self._events.publish("head.lost", {"reason": problem})
        else:
            self._events.publish("head.recovered", {})

    def delivery_stored(self, delivery: Delivery) -> None:
        """Publish the state of a delivery; of a delegated one to its client only."""
        state = "answered" if delivery.answered_by else delivery.state
        fields = {
            "id": delivery.number,
            "state": state,
            "subscription": delivery.subscription_id,
            "interval": delivery.interval,
            "containers": delivery.containers,
            "reason": delivery.reason,
            "transaction": delivery.transaction_hash,
        }
        self._events.publish(f"delivery.{state}", fields, client=delivery.client or None)

    def subscriptions_stored(self, found: Iterable[KnownSubscription]) -> None:
        """Publish the states of subscriptions that contracts made, without those not served."""
        for known in found:
            if known.state == "ignored":
                continue
            fields = {
                "id": known.id,
                "state": known.state,
                "containers": known.containers,
                "reason": known.reason,
            }
            verb = "found" if known.state == "active" else known.state
            self._events.publish(f"subscription.{verb}", fields)
