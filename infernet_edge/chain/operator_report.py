"""What the operator is shown of deliveries and subscriptions; times in milliseconds since 1970."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.delivery.record import Delivery
from infernet_edge.chain.subscriptions.store import KnownSubscription


def report_delivery(delivery: Delivery, proof: str) -> dict[str, Any]:
    """A delivery; `proof` is what its verifier said, "" when there is none.

    Its state is "answered" when the interval was answered, but not by this delivery;
    `answered_by` is "others" or "delivery N" then.
    """
    return {
        "number": delivery.number,
        "generation": delivery.generation,
        "owner": delivery.owner,
        "nonce": delivery.nonce if delivery.delegated else None,
        "subscription": delivery.subscription_id,
        "interval": delivery.interval,
        "containers": delivery.containers,
        "client": delivery.client,
        "state": delivery.shown_state,
        "answered_by": delivery.answered_by,
        "reason": delivery.reason,
        "transaction": delivery.transaction_hash,
        "proof": proof,
        "created_at": delivery.created_at,
        "changed_at": delivery.changed_at,
    }


def report_subscription(known: KnownSubscription) -> dict[str, Any]:
    """A subscription that a contract created; `active_at` in seconds of the chain's time."""
    subscription = known.subscription
    return {
        "id": known.id,
        "owner": subscription.owner,
        "containers": known.containers,
        "frequency": subscription.frequency,
        "period": subscription.period,
        "redundancy": subscription.redundancy,
        "active_at": subscription.active_at,
        "lazy": subscription.lazy,
        "verifier": subscription.verifier if subscription.requires_proof else "",
        "payment_amount": subscription.payment_amount,
        "payment_token": subscription.payment_token,
        "wallet": subscription.wallet,
        "state": known.state,
        "reason": known.reason,
        "changed_at": known.changed_at,
    }
