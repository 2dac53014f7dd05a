"""What the operator is shown of deliveries and subscriptions; times in milliseconds since 1970."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.delivery.record import Delivery
from infernet_edge.chain.subscriptions.store import KnownSubscription


def report_delivery(delivery: Delivery, proof: str, fee: int | None) -> dict[str, Any]:
    """A delivery; `proof` is what its verifier said, "" when there is none.

    `fee` is what its transactions have cost so far, in wei; None while that is not known.

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
        "fee": None if fee is None else str(fee),
        "proof": proof,
        "created_at": delivery.created_at,
        "changed_at": delivery.changed_at,
    }


def subscription_item(known: KnownSubscription, now: int) -> dict[str, Any]:
    """The same for the API: amounts as decimal text; `next_due` is in milliseconds since 1970.

    `now` is the chain's time in seconds. `next_due` is when the next interval begins, None when
    there is none.
    """
    subscription = known.subscription
    following = subscription.interval_at(now) + 1
    is_due = known.state == "active" and following <= subscription.frequency
    return report_subscription(known) | {
        "payment_amount": str(subscription.payment_amount),
        "next_due": subscription.due_time(following) * 1000 if is_due else None,
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
