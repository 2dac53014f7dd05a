"""Checks of what an earlier run left: does the configuration of this one still allow it?"""

from __future__ import annotations

from infernet_edge.chain.contracts.registry import Deployment
from infernet_edge.chain.delivery.errors import SubscriptionEnded
from infernet_edge.chain.delivery.record import OpenDelivery
from infernet_edge.chain.guard.rules import SubscriptionRules, explain
from infernet_edge.errors import ApiError


class RecoveryCheck:
    """Checks deliveries against the configuration of this run."""

    def __init__(self, deployment: Deployment, rules: SubscriptionRules) -> None:
        self._deployment = deployment
        self._rules = rules

    def check_deployment(self, delivery: OpenDelivery) -> None:
        """Raise SubscriptionEnded when a delivery is for contracts that are not configured."""
        generation = delivery.generation
        now = self._deployment.anchor(generation) if self._deployment.serves(generation) else ""
        if now.lower() == delivery.anchor:
            return
        kind = "registry" if generation == "1.x" else "coordinator"
        raise SubscriptionEnded(
            f"Made for {kind} {delivery.anchor}, the node now works with {now or 'none'}; set"
            f" chain.{kind}_address back before you ask for it again"
        )

    def check_rules(self, delivery: OpenDelivery) -> None:
        """Raise SubscriptionEnded when the rules refuse a delivery's subscription now."""
        try:
            self._rules.check(delivery.subscription, delegated=delivery.delegated)
        except ApiError as error:
            containers = ",".join(delivery.containers)
            raise SubscriptionEnded(
                f"{explain(error)}; it was allowed before the configuration changed, for"
                f' "{containers}"'
            ) from None
