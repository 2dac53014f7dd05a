"""Deliveries as rows, for the tables of a test."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.delivery.record import Delivery

ANCHOR = f"0x{'aa' * 20}"


def delivery(nonce: int = 1, planned_interval: int | None = None, **fields: Any) -> Delivery:
    """A delegated delivery of one owner; the first one of its request, if no interval is given."""
    given: dict[str, Any] = {
        "number": 0,
        "generation": "1.x",
        "anchor": ANCHOR,
        "owner": "0xOwner",
        "nonce": nonce,
        "subscription_id": None,
        "interval": 1,
        "containers": ("a", "b"),
        "state": "accepted",
        "planned_interval": planned_interval,
    }
    return Delivery(**(given | fields))
