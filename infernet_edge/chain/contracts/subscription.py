"""A subscription of an Infernet coordinator, in the form of either generation of the contracts.

The generations are those of the Infernet SDK: "1.x" (payments and proofs, containers as a hash) and
"0.1" (gas limits, containers as text).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

import msgspec
from eth_utils.address import to_checksum_address
from msgspec import Struct

Generation = Literal["1.x", "0.1"]

ZERO_ADDRESS: Final = "0x" + 40 * "0"
# Thousands of subscriptions share few addresses, and a checksum takes a keccak of 40 signs.
_checksummed: Final = functools.lru_cache(1024)(to_checksum_address)
_CANCELLED: Final = 2**32 - 1  # the `active_at` that a coordinator gives to what is cancelled


class Field(NamedTuple):
    """A field of the contracts' `struct Subscription`."""

    name: str  # in requests, and here
    solidity_name: str
    type: str


class Payment(NamedTuple):
    """What one answer to one interval is worth: wei of a token; the zero address is the coin."""

    amount: int
    token: str


class _Subscription(Struct, frozen=True):
    """What both generations have; times in seconds since 1970, by the chain's clock."""

    fields: ClassVar[tuple[Field, ...]]

    owner: str
    active_at: int
    period: int
    frequency: int
    redundancy: int

    @classmethod
    def from_abi(cls, values: Sequence[Any]) -> Self:
        """Make one of decoded ABI values, in the order of the contract's struct."""
        readable: list[Any] = [
            _checksummed(value) if field.type == "address" else value
            for field, value in zip(cls.fields, values, strict=True)
        ]
        return cls(*readable)

    def to_abi(self) -> tuple[Any, ...]:
        """The values to encode, in the order of the contract's struct."""
        return msgspec.structs.astuple(self)

    @property
    def exists(self) -> bool:
        """Whether the coordinator has it: what it does not know reads as all zeros."""
        return self.owner != ZERO_ADDRESS

    @property
    def is_cancelled(self) -> bool:
        """Whether its owner has cancelled it. (Coordinators 0.1 forget it instead: `exists`.)"""
        return self.active_at == _CANCELLED

    @property
    def last_interval(self) -> int:
        """The last interval that may be answered; without a period there is only the first."""
        return self.frequency if self.period else min(1, self.frequency)

    def interval_at(self, now: int) -> int:
        """The interval that may be answered at this time, counted from 1; 0 before the first.

        Without a period there is one interval and it never ends.
        """
        if now < self.active_at:
            return 0
        return (now - self.active_at) // self.period + 1 if self.period else 1

    def due_time(self, interval: int) -> int:
        """The first second in which an interval may be answered."""
        return self.active_at + (interval - 1) * self.period

    def end_time(self, interval: int) -> int | None:
        """The first second in which an interval may no longer be answered; None: it never ends."""
        return self.due_time(interval + 1) if self.period else None


class SubscriptionV1(_Subscription, frozen=True):
    """A subscription of SDK 1.x; `containers` is the hash of its container ids."""

    generation: ClassVar[Generation] = "1.x"
    fields: ClassVar[tuple[Field, ...]] = (
        Field("owner", "owner", "address"),
        Field("active_at", "activeAt", "uint32"),
        Field("period", "period", "uint32"),
        Field("frequency", "frequency", "uint32"),
        Field("redundancy", "redundancy", "uint16"),
        Field("containers", "containerId", "bytes32"),
        Field("lazy", "lazy", "bool"),
        Field("verifier", "verifier", "address"),
        Field("payment_amount", "paymentAmount", "uint256"),
        Field("payment_token", "paymentToken", "address"),
        Field("wallet", "wallet", "address"),
    )

    containers: bytes
    lazy: bool
    verifier: str
    payment_amount: int
    payment_token: str
    wallet: str

    @property
    def payment(self) -> Payment:
        """What an answer is paid with."""
        return Payment(self.payment_amount, self.payment_token)

    @property
    def requires_proof(self) -> bool:
        """Whether a verifier wants a proof with each answer."""
        return self.verifier != ZERO_ADDRESS


class SubscriptionV0(_Subscription, frozen=True):
    """A subscription of SDK 0.1; `container_id` is its container ids, with commas between.

    `max_gas_price` is in wei per gas. There are no payments and no proofs.
    """

    generation: ClassVar[Generation] = "0.1"
    payment: ClassVar[Payment] = Payment(0, ZERO_ADDRESS)
    requires_proof: ClassVar[bool] = False
    fields: ClassVar[tuple[Field, ...]] = (
        Field("owner", "owner", "address"),
        Field("active_at", "activeAt", "uint32"),
        Field("period", "period", "uint32"),
        Field("frequency", "frequency", "uint32"),
        Field("redundancy", "redundancy", "uint16"),
        Field("max_gas_price", "maxGasPrice", "uint48"),
        Field("max_gas_limit", "maxGasLimit", "uint32"),
        Field("container_id", "containerId", "string"),
        Field("inputs", "inputs", "bytes"),
    )

    max_gas_price: int
    max_gas_limit: int
    container_id: str
    inputs: bytes = b""


Subscription = SubscriptionV1 | SubscriptionV0


def abi_types(kind: type[Subscription]) -> tuple[str, ...]:
    """The ABI types of a generation's fields."""
    return tuple(field.type for field in kind.fields)


def abi_type(kind: type[Subscription]) -> str:
    """The ABI type of a generation's struct, such as "(address,uint32,...)"."""
    return f"({','.join(abi_types(kind))})"
