"""The chain that all servers have to serve."""

from __future__ import annotations

import logging
from typing import Any, Final

from infernet_edge.chain.rpc.errors import Call, Cause, EndpointFailure, quantity
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

CHAIN_ID_CALL: Final[Call] = ("eth_chainId", [])


class ChainCheck:
    """Compares what servers answer to CHAIN_ID_CALL.

    `expected` is the only chain that is accepted; None: that of the first answer. `found` is the
    chain of the last server that was accepted, None before.
    """

    def __init__(self) -> None:
        self.expected: int | None = None
        self.found: int | None = None
        self._logged: dict[str, str] = {}

    def check(self, server: str, answer: Any) -> None:
        """Raise EndpointFailure unless the server with that name serves the right chain."""
        try:
            found = answer if _is_number(answer) else quantity(answer)
        except ValueError:
            raise EndpointFailure("it gives no chain id", Cause.CHAIN) from None
        expected = self.found if self.expected is None else self.expected
        if expected is not None and found != expected:
            reason = (
                f"it serves chain {found}, but this node works on chain {expected}; correct"
                " chain.rpc_url, or give the node another storage.path for another chain"
            )
            if self._logged.get(server) != reason:
                self._logged[server] = reason
                log_event(logger, "rpc.chain_refused", logging.ERROR, server=server, reason=reason)
            raise EndpointFailure(reason, Cause.CHAIN)
        self._logged.pop(server, None)
        self.found = found


def _is_number(answer: Any) -> bool:
    """Whether the id is a JSON number, as some servers give it."""
    return isinstance(answer, int) and not isinstance(answer, bool)
