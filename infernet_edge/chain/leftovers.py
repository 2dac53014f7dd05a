"""What an earlier run left, with the configuration of this one: is it still the node's to do?"""

from __future__ import annotations

from infernet_edge.chain.deliveries import Delivery
from infernet_edge.chain.deployment import Deployment
from infernet_edge.chain.obstacles import Ended


class Leftovers:
    """Knows what the configuration of this run allows."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def check_deployment(self, delivery: Delivery) -> None:
        """Raise Ended when a delivery is for contracts with which the node works no longer."""
        generation = delivery.generation
        now = self._deployment.anchor(generation) if self._deployment.serves(generation) else ""
        if now.lower() == delivery.anchor:
            return
        kind = "registry" if generation == "1.x" else "coordinator"
        raise Ended(
            f"Made for {kind} {delivery.anchor}, the node now works with {now or 'none'}; set"
            f" chain.{kind}_address back before you ask for it again"
        )
