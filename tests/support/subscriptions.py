"""Subscriptions of both generations, and the rules' configuration, without a chain."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.contracts.subscription import ZERO_ADDRESS, SubscriptionV0, SubscriptionV1
from infernet_edge.chain.guard.container_lookup import container_hash
from infernet_edge.config.model import Config, Container
from infernet_edge.config.sections.chain import Chain, Wallet

OWNER = "0x00bd138aBd70e2F00903268F3DB08f2d25677C2b"
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
VERIFIER = "0x2222222222222222222222222222222222222222"


def subscription_v1(containers: str = "echo", **fields: Any) -> SubscriptionV1:
    """One answer at once, for nothing; `containers` are ids with commas between."""
    values: dict[str, Any] = {
        "owner": OWNER,
        "active_at": 1000,
        "period": 0,
        "frequency": 1,
        "redundancy": 1,
        "containers": container_hash(containers.split(",")),
        "lazy": False,
        "verifier": ZERO_ADDRESS,
        "payment_amount": 0,
        "payment_token": ZERO_ADDRESS,
        "wallet": ZERO_ADDRESS,
    }
    return SubscriptionV1(**values | fields)


def subscription_v0(containers: str = "echo", **fields: Any) -> SubscriptionV0:
    """One answer at once; `containers` are ids with commas between."""
    values: dict[str, Any] = {
        "owner": OWNER,
        "active_at": 1000,
        "period": 0,
        "frequency": 1,
        "redundancy": 1,
        "max_gas_price": 10**9,
        "max_gas_limit": 10**6,
        "container_id": containers,
    }
    return SubscriptionV0(**values | fields)


def chain_config(
    *containers: Container, pipelines: list[str] | None = None, payment_address: str | None = None
) -> Config:
    """As much of a configuration as container sets and rules look at."""
    chain = Chain(pipelines=pipelines or [], wallet=Wallet(payment_address=payment_address))
    return Config(containers=list(containers), chain=chain)
