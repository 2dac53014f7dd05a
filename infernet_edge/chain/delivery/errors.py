"""Why a step of a delivery does not lead to the next one: there is nothing to do, or it failed.

A permanent failure ends the delivery, a transient one is retried some times, and what needs an
action of people is retried without limit.
"""

from __future__ import annotations

from typing import ClassVar

from infernet_edge.chain.delivery.record import DeliveryState
from infernet_edge.errors import InfernetEdgeError


class NothingToDo(InfernetEdgeError):
    """Nothing is left to do for a delivery; the text is the reason.

    `answered_by` is who has answered instead of it, see Delivery.
    """

    def __init__(self, reason: str, answered_by: str = "") -> None:
        super().__init__(reason)
        self.answered_by = answered_by


class PermanentFailure(InfernetEdgeError):
    """A delivery will not succeed; the text is the reason. `state` is how it ends."""

    state: ClassVar[DeliveryState] = "failed"


class SubscriptionEnded(PermanentFailure):
    """The subscription is over or cancelled: its later intervals will not succeed either."""


class NotPaid(PermanentFailure):
    """Nothing is computed, because it would not be paid."""

    state = "skipped"


class InputRefused(PermanentFailure):
    """Nothing is computed, because the input does not fit the schema of the container."""

    state = "skipped"


class TransientFailure(InfernetEdgeError):
    """A retry may succeed. `state` is how a delivery ends after the last one."""

    state: ClassVar[DeliveryState] = "failed"


class PaymentMissing(TransientFailure):
    """A payment, or its approval, is missing still; without it nothing is computed."""

    state = "skipped"


class TooEarly(InfernetEdgeError):
    """The server simulates at a time before the interval; it is retried with the next block.

    The end of the interval ends the retries.
    """


class ActionNeeded(InfernetEdgeError):
    """People have to act first, such as to pay for gas; it is retried without limit.

    Each retry simulates again, so the end of the interval or of the signature ends it too.
    """
