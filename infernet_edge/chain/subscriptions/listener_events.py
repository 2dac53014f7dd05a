"""What the listener logs of the subscriptions that it reads."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from infernet_edge.chain.subscriptions.store import KnownSubscription
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)


def log_found(found: Iterable[KnownSubscription], *, few: bool) -> None:
    """Log new subscriptions; those that are not followed only when there are few."""
    for known in found:
        if known.state == "active" or few:
            _log_subscription(known)


def log_advanced(done: int, of: int, tally: Counter[str]) -> None:
    """Log how many subscriptions were read so far, and how many of them are in each state."""
    log_event(logger, "listener.sync_advanced", done=done, of=of, **dict(sorted(tally.items())))


def log_synced(done: int, of: int, tally: Counter[str], seconds: float) -> None:
    """Log the same of all subscriptions, and how long it took."""
    counts = dict(sorted(tally.items()))
    log_event(logger, "listener.synced", done=done, of=of, seconds=seconds, **counts)


def _log_subscription(known: KnownSubscription) -> None:
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
