"""The section `chain` of the configuration, see model.py."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from infernet_edge.config.secret_files import Secret

Wei = Annotated[int, Meta(ge=0)]
ReadPath = Annotated[str, Meta(extra={"path": "read"})]
"""A relative one is resolved by values.relative_paths, according to its use."""


class Wallet(Struct, frozen=True):
    private_key: Annotated[
        Secret | None, Meta(description="Key of the node's account, hex; better as a file")
    ] = None
    keystore: Annotated[
        ReadPath | None,
        Meta(description="Encrypted file with that key; infernet-edge wallet new creates it"),
    ] = None
    keystore_password: Annotated[
        Secret | None, Meta(description="Password of the keystore; better as a file")
    ] = None
    payment_address: Annotated[
        str | None, Meta(description="Wallet contract that is paid for results")
    ] = None
    max_gas_limit: Annotated[int, Meta(ge=21000, description="Maximum gas for one delivery")] = (
        5_000_000
    )
    allowed_sim_errors: Annotated[
        list[str], Meta(description="Revert texts that do not stop a delivery")
    ] = []


class SnapshotSync(Struct, frozen=True):
    sleep: Annotated[
        float,
        Meta(ge=0, description="Seconds between two batches", extra={"milliseconds_from": 500}),
    ] = 1.0
    batch_size: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Subscriptions per batch",
            extra={"clamped": "maximum"},
        ),
    ] = 500
    starting_sub_id: Annotated[int, Meta(ge=0, description="First subscription to read")] = 0
    sync_period: Annotated[
        float,
        Meta(gt=0, description="Seconds between two polls", extra={"milliseconds_from": 500}),
    ] = 0.5


class Chain(Struct, frozen=True):
    enabled: Annotated[bool, Meta(description="Serve subscriptions of an EVM chain")] = False
    rpc_url: Annotated[
        str | list[str],
        Meta(description="JSON-RPC URL, or several, tried in order", extra={"secret": True}),
    ] = ""
    trail_head_blocks: Annotated[
        int, Meta(ge=0, description="Confirmation depth: blocks behind the head")
    ] = 1
    max_pending_transactions: Annotated[
        int,
        Meta(ge=1, le=500, description="Maximum transactions sent and in no block yet; more wait"),
    ] = 100
    max_fee_wei_per_day: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Maximum fees of transactions in 24 hours; default: no limit"),
    ] = None
    registry_address: Annotated[str, Meta(description="Registry contract (SDK 1.x)")] = ""
    coordinator_address: Annotated[str, Meta(description="Coordinator contract (SDK 0.1)")] = ""
    pipelines: Annotated[
        list[str], Meta(description='Container chains to recognise, such as "a,b,c,d"')
    ] = []
    wallet: Wallet = field(default_factory=Wallet)
    snapshot_sync: SnapshotSync = field(default_factory=SnapshotSync)
