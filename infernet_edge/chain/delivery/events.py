"""What happens to deliveries, for those who follow the subscriptions of contracts."""

from __future__ import annotations

from typing import Protocol

from infernet_edge.chain.delivery.record import OpenDelivery


class DeliveryEvents(Protocol):
    """Receives the events of deliveries that contracts asked for, not delegated requests."""

    def delivery_sent(self, delivery: OpenDelivery) -> None:
        """Its transaction is in flight."""

    def delivery_ended(self, delivery: OpenDelivery, *, recurs: bool) -> None:
        """It has ended; `recurs`: later intervals make sense."""


class NoDeliveryEvents:
    """Receives them where nothing follows the subscriptions of contracts."""

    def delivery_sent(self, delivery: OpenDelivery) -> None:
        """Nothing depends on it."""

    def delivery_ended(self, delivery: OpenDelivery, *, recurs: bool) -> None:
        """Nothing depends on it."""
