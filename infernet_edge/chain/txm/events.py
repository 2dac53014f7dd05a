"""Log events of transactions."""

from __future__ import annotations

import logging
from typing import Any

from infernet_edge.chain.txm.store import Transaction
from infernet_edge.logs import log_event


def log_transaction(
    logger: logging.Logger,
    event: str,
    transaction: Transaction,
    level: int = logging.INFO,
    **fields: Any,
) -> None:
    """Log `transaction.<event>` with what names the transaction, and further fields."""
    names = {
        "key": transaction.key,
        "subscription": transaction.subject.subscription,
        "interval": transaction.subject.interval,
        "hash": transaction.hash,
        "nonce": transaction.nonce,
    }
    log_event(logger, f"transaction.{event}", level, **(names | fields))
