"""Delegated subscriptions for tests: built and signed with eth-account.

    request = request_v1(v1, consumer, data={"prompt": "hello"})
    client.post("/api/jobs", json=request.body)

What is to be wrong about a request is given as an argument, or changed in its `body`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from tests.support.evm import ALICE, COIN, NOBODY, NODE, V0, V1, Contract, Receipt

Generation = Literal["1.x", "0.1"]

# Each field of a Subscription in the order of the contract: its type, its name there and in JSON.
_FIELDS_V1 = (
    ("address", "owner", "owner"),
    ("uint32", "activeAt", "active_at"),
    ("uint32", "period", "period"),
    ("uint32", "frequency", "frequency"),
    ("uint16", "redundancy", "redundancy"),
    ("bytes32", "containerId", "containers"),
    ("bool", "lazy", "lazy"),
    ("address", "verifier", "verifier"),
    ("uint256", "paymentAmount", "payment_amount"),
    ("address", "paymentToken", "payment_token"),
    ("address", "wallet", "wallet"),
)
_FIELDS_V0 = (
    ("address", "owner", "owner"),
    ("uint32", "activeAt", "active_at"),
    ("uint32", "period", "period"),
    ("uint32", "frequency", "frequency"),
    ("uint16", "redundancy", "redundancy"),
    ("uint48", "maxGasPrice", "max_gas_price"),
    ("uint32", "maxGasLimit", "max_gas_limit"),
    ("string", "containerId", "container_id"),
    ("bytes", "inputs", "inputs"),
)
_FIELDS = {"1.x": _FIELDS_V1, "0.1": _FIELDS_V0}


class Delegated(NamedTuple):
    """A signed request; `subscription` has the contract's names of the fields."""

    generation: Generation
    subscription: dict[str, Any]
    signature: dict[str, int]
    data: dict[str, Any]

    @property
    def body(self) -> dict[str, Any]:
        """The body of the request to the node, a fresh copy each time."""
        fields = {json: self.subscription[name] for _, name, json in _FIELDS[self.generation]}
        plain = {
            key: "0x" + value.hex() if isinstance(value, bytes) else value
            for key, value in fields.items()
        }
        return copy.deepcopy(
            {"subscription": plain, "signature": self.signature, "data": self.data}
        )

    @property
    def owner(self) -> str:
        """The address of the consumer."""
        return str(self.subscription["owner"])

    @property
    def nonce(self) -> int:
        """The nonce under which the owner's signer signed."""
        return self.signature["nonce"]

    @property
    def creation(self) -> tuple[Any, ...]:
        """The arguments of createSubscriptionDelegatee."""
        nonce, expiry, v, r, s = (self.signature[key] for key in ("nonce", "expiry", "v", "r", "s"))
        return nonce, expiry, self.subscription, v, r.to_bytes(32, "big"), s.to_bytes(32, "big")

    def delivery(
        self,
        interval: int = 1,
        *,
        input: bytes = b"",
        output: bytes = b"",
        proof: bytes = b"",
        wallet: str = NOBODY,
    ) -> tuple[Any, ...]:
        """The arguments of deliverComputeDelegatee."""
        delivered = (*self.creation, interval, input, output, proof)
        return (*delivered, wallet) if self.generation == "1.x" else delivered

    def deliver(
        self,
        coordinator: Contract,
        interval: int = 1,
        *,
        sender: LocalAccount = NODE,
        gas: int | None = None,
        **delivered: Any,
    ) -> Receipt:
        """Deliver an answer as a node does. Raises Reverted."""
        arguments = self.delivery(interval, **delivered)
        return coordinator.send("deliverComputeDelegatee", *arguments, sender=sender, gas=gas)


def container_hash(containers: str) -> bytes:
    """Return the id on the chain (1.x) of container ids that are joined with commas."""
    return keccak(encode(["string"], [containers]))


def request_v1(
    v1: V1,
    owner: Contract,
    *,
    signer: LocalAccount = ALICE,
    nonce: int = 1,
    expires_in: int = 3600,
    containers: str = "echo",
    data: Mapping[str, Any] | None = None,
    chain_id: int | None = None,
    **fields: Any,
) -> Delegated:
    """Return a signed request to coordinators of SDK 1.x: one answer, at once, for nothing.

    `expires_in` counts seconds from the latest block. `fields` replace fields of the subscription,
    by the contract's names.
    """
    now = v1.anvil.now()
    subscription = {
        "owner": owner.address,
        "activeAt": now,
        "period": 0,
        "frequency": 1,
        "redundancy": 1,
        "containerId": container_hash(containers),
        "lazy": False,
        "verifier": NOBODY,
        "paymentAmount": 0,
        "paymentToken": COIN,
        "wallet": NOBODY,
    } | fields
    domain = _domain(chain_id or v1.anvil.chain_id, v1.coordinator.address)
    signature = sign("1.x", subscription, signer, domain, nonce, now + expires_in)
    return Delegated("1.x", subscription, signature, dict(data or {}))


def request_v0(
    v0: V0,
    owner: Contract,
    *,
    signer: LocalAccount = ALICE,
    nonce: int = 1,
    expires_in: int = 3600,
    containers: str = "echo",
    data: Mapping[str, Any] | None = None,
    chain_id: int | None = None,
    **fields: Any,
) -> Delegated:
    """Return a signed request to coordinators of SDK 0.1: one answer, at once.

    `expires_in` counts seconds from the latest block. `fields` replace fields of the subscription,
    by the contract's names.
    """
    now = v0.anvil.now()
    subscription = {
        "owner": owner.address,
        "activeAt": now,
        "period": 0,
        "frequency": 1,
        "redundancy": 1,
        "maxGasPrice": 200 * 10**9,
        "maxGasLimit": 2_000_000,
        "containerId": containers,
        "inputs": b"",
    } | fields
    domain = _domain(chain_id or v0.anvil.chain_id, v0.coordinator.address)
    signature = sign("0.1", subscription, signer, domain, nonce, now + expires_in)
    return Delegated("0.1", subscription, signature, dict(data or {}))


def sign(
    generation: Generation,
    subscription: Mapping[str, Any],
    signer: LocalAccount,
    domain: Mapping[str, Any],
    nonce: int,
    expiry: int,
) -> dict[str, int]:
    """Return an EIP-712 signature as requests carry it: nonce, expiry, v, r and s."""
    types = {
        "DelegateSubscription": [
            {"name": "nonce", "type": "uint32"},
            {"name": "expiry", "type": "uint32"},
            {"name": "sub", "type": "Subscription"},
        ],
        "Subscription": [{"name": name, "type": kind} for kind, name, _ in _FIELDS[generation]],
    }
    message = {"nonce": nonce, "expiry": expiry, "sub": dict(subscription)}
    signed = signer.sign_message(encode_typed_data(dict(domain), types, message))
    return {"nonce": nonce, "expiry": expiry, "v": signed.v, "r": signed.r, "s": signed.s}


def _domain(chain_id: int, coordinator: str) -> dict[str, Any]:
    return {
        "name": "InfernetCoordinator",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": coordinator,
    }
