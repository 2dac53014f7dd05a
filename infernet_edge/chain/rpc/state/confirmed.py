"""Errors that are known to be about a call itself, and not about the request it came in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from infernet_edge.chain.rpc.errors import RpcError

_REMEMBERED = 64  # errors that are remembered
_CONFIRMED_FOR = 60.0  # seconds


class ConfirmedErrors:
    """The errors of one server that a call alone got too; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[tuple[str, int, str], float] = OrderedDict()

    def note(self, method: str, error: RpcError) -> None:
        """Remember an error that a single call was answered with."""
        self._known[method, error.code, error.message] = self._clock() + _CONFIRMED_FOR
        self._known.move_to_end((method, error.code, error.message))
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def is_known(self, method: str, error: RpcError) -> bool:
        """Whether this is such an error."""
        return self._known.get((method, error.code, error.message), 0.0) > self._clock()
