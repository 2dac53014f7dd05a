"""Why a server does not accept a transaction.

There are no codes for it, only messages. They are those of geth (core/txpool/errors.go), reth,
Erigon, Nethermind, Besu and anvil.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from infernet_edge.chain.rpc.client import RpcError


class BroadcastAnswer(Enum):
    """What a server's answer to eth_sendRawTransaction means."""

    TAKEN = auto()  # it has the transaction, now or already
    UNCLEAR = auto()  # it may have it
    NONCE_USED = auto()  # another transaction with this nonce is mined or waits
    UNKNOWN_TYPE = auto()  # the chain does not know EIP-1559
    NO_FUNDS = auto()
    TOO_CHEAP = auto()  # it may be taken when gas costs less
    REFUSED = auto()  # it will not be taken


_MESSAGES = (
    (
        BroadcastAnswer.TAKEN,
        r"already known|known transaction|already imported|alreadyknown|already exists",
    ),
    (
        BroadcastAnswer.NO_FUNDS,
        r"insufficient funds|insufficient balance|upfront cost|insufficientfunds",
    ),
    (
        BroadcastAnswer.NONCE_USED,
        r"nonce too low|oldnonce|old nonce|nonce is too low|nonce_too_low|invalid nonce|"
        r"replacement transaction underpriced|replacementnotallowed|could not replace|"
        r"underpriced replacement|nonce already used",
    ),
    (
        BroadcastAnswer.UNKNOWN_TYPE,
        r"transaction type not supported|unsupported transaction type|invalid transaction type|"
        r"tx type not supported|eip-?1559.{0,120}not|does not support eip|type not valid",
    ),
    (
        BroadcastAnswer.TOO_CHEAP,
        r"underpriced|less than block base fee|fee too low|gas ?price too low|feetoolow|"
        r"below (the |configured )?minimum|txpool is full|transaction pool|pool is full",
    ),
    (
        BroadcastAnswer.REFUSED,
        r"intrinsic gas|exceeds block gas limit|gas limit.{0,30}(high|exceed)|invalid sender|"
        r"chain ?id|exceeds the configured cap|oversized|rlp|tip.{0,30}higher than max fee|"
        r"priority fee.{0,30}(higher|greater) than|out of gas|gas required exceeds",
    ),
)
_PATTERNS = tuple((answer, re.compile(words, re.I)) for answer, words in _MESSAGES)


def meaning(error: RpcError) -> BroadcastAnswer:
    """What an error means for the transaction."""
    found = (answer for answer, pattern in _PATTERNS if pattern.search(error.message))
    return next(found, BroadcastAnswer.UNCLEAR)
