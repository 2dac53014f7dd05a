"""A delivery as a row of the deliveries table has it."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from infernet_edge.chain.contracts.abi import decode_subscription_v1
from infernet_edge.chain.contracts.delegation import DelegatedRequest, parse_signed
from infernet_edge.chain.contracts.subscription import Generation, Subscription
from infernet_edge.invariants import invariant

DeliveryState = Literal[
    "accepted", "computing", "sending", "sent", "delivered", "failed", "skipped"
]
ANSWERED: Final = "answered"  # shown instead of "delivered", see `shown_state`
UNFINISHED: Final = ("accepted", "computing", "sending", "sent")

_NEXT: Final[dict[str, tuple[str, ...]]] = {
    "accepted": ("computing",),
    "computing": ("sending",),
    "sending": ("sent",),
    "sent": ("sending",),  # its transaction failed, or is forgotten
}
_ENDS: Final = ("delivered", "failed", "skipped")


def check_transition(before: str, after: str) -> None:
    """Raise InvariantViolated unless a delivery may go from one state to another.

    An unfinished one may end at any time; one that has ended keeps its state.
    """
    allowed = (*_NEXT[before], *_ENDS) if before in _NEXT else ()
    invariant(after in allowed, f"a delivery must not go from {before} to {after}")


class Delivery(Struct):
    """One answer to one interval of a subscription; times in milliseconds since 1970.

    `delegated`: it came as a signed request, not from a contract. `skipped` is the state of one
    for which nothing was computed, because it would not be paid. The answer (`input`, `output`,
    `proof`) is here only until it is stored. `damaged`: its request is not what was stored.
    `answered_by` is who answered its interval when it is "delivered" and that was not this
    delivery: "others", or another "delivery N" of this node.

    What it answers is named by `generation`, `anchor` (the configured address of the deployment, in
    lower case), `owner`, and, when it is delegated, `nonce`; else `subscription_id` and `active_at`
    (chain seconds: after a reorg another subscription may have the same id). `planned_interval` is
    the interval for which it was made: None for the first delivery of a request, which chooses its
    `interval` when it is admitted.
    """

    number: int
    generation: Generation
    anchor: str
    owner: str
    nonce: int
    subscription_id: int | None
    interval: int
    containers: tuple[str, ...]
    state: DeliveryState
    reason: str = ""
    verified: bool = False
    attempts: int = 0
    client: str = ""
    request: bytes = b""
    input: bytes = b""
    output: bytes | None = None
    proof: bytes = b""
    transaction_hash: str = ""
    created_at: int = 0
    changed_at: int = 0
    delegated: bool = True
    damaged: bool = False
    planned_interval: int | None = None
    active_at: int = 0
    answered_by: str = ""

    @property
    def shown_state(self) -> str:
        """Its state, or "answered" when its interval was answered, but not by this delivery."""
        return ANSWERED if self.answered_by else self.state

    @property
    def request_key(self) -> str:
        """The name of its delegated request, which all its intervals share."""
        return f"{self.generation}:{self.anchor}:{self.owner}:{self.nonce}".lower()

    @property
    def legacy_key(self) -> str:
        """All that names it as one text, for versions that know no other name."""
        key = self.request_key
        if not self.delegated:
            named = (self.generation, self.anchor, self.subscription_id, self.owner, self.active_at)
            key = ":".join(map(str, named)).lower()
        return key if self.planned_interval is None else f"{key}#{self.planned_interval}"


class OpenDelivery(Delivery, kw_only=True):
    """A delivery that has not ended, with what its request says: parsed once, when it is made.

    `signed` is the delegated request, None where a contract has made the subscription.
    """

    subscription: Subscription
    signed: DelegatedRequest | None = None


def open_delivery(stored: Delivery) -> OpenDelivery:
    """Parse what is stored of a delivery; takes 1 ms and more. Raises BadRequest, UnexpectedReply.

    Its request must be kept still, see DeliveryStore.save.
    """
    signed = parse_signed(stored.request) if stored.delegated else None
    if signed is not None and signed.signed == stored.request:
        signed = replace(signed, signed=stored.request)  # one copy is enough
    subscription = decode_subscription_v1(stored.request) if signed is None else signed.subscription
    fields = {name: getattr(stored, name) for name in stored.__struct_fields__}
    return OpenDelivery(**fields, subscription=subscription, signed=signed)
