"""Why a step of a delivery does not lead to the next one."""

from __future__ import annotations

from typing import ClassVar

from infernet_edge.chain.delivery.record import State
from infernet_edge.errors import InfernetEdgeError


class Done(InfernetEdgeError):
    """Nothing is left to do for a delivery; the text says why."""


class Never(InfernetEdgeError):
    """A delivery will not succeed; the text says why. `state` is how it ends."""

    state: ClassVar[State] = "failed"


class Ended(Never):
    """The subscription is over or cancelled: its later intervals will not succeed either."""


class Skipped(Never):
    """Nothing is computed, because it would not be paid."""

    state = "skipped"


class NotNow(InfernetEdgeError):
    """A step has to be tried again later, some times. `state` is how it ends after the last."""

    state: ClassVar[State] = "failed"


class Unpaid(NotNow):
    """Somebody has yet to pay, or to approve a payment; without that nothing is computed."""

    state = "skipped"


class Waiting(InfernetEdgeError):
    """Somebody has to do something first, such as pay for gas; it is waited for without limit.

    Each new try simulates again, so the end of the interval or of the signature ends it too.
    """
