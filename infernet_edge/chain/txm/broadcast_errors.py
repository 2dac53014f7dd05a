"""Why a server does not accept a transaction.

There are no codes for it, only messages. They are those of geth (core/txpool/errors.go) and its
descendants (bor, BSC, op-geth, coreth, Arbitrum), reth, Erigon, Nethermind, Besu, Parity, Hedera
and anvil.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum, auto
from typing import Final, NamedTuple

from infernet_edge.chain.rpc.client import RpcError


class BroadcastAnswer(Enum):
    """What a server's answer to eth_sendRawTransaction means."""

    TAKEN = auto()  # it has the transaction, now or already
    UNCLEAR = auto()  # it may have it
    NONCE_USED = auto()  # another transaction with this nonce is mined or waits
    UNKNOWN_TYPE = auto()  # the chain does not know EIP-1559
    NO_FUNDS = auto()
    TOO_CHEAP = auto()  # it may be taken with higher fees, or when gas costs less
    POOL_FULL = auto()  # it may be taken later
    ONE_AT_A_TIME = auto()  # it may be taken when those before it are mined (EIP-7702)
    REFUSED = auto()  # it will not be taken


_MESSAGES = (
    (
        BroadcastAnswer.TAKEN,
        r"already known|known transaction|already imported|alreadyknown|already exists",
    ),
    (
        # Pools take few transactions, often one, of an account that is delegated by EIP-7702, and
        # none with a later nonce than the next.
        BroadcastAnswer.ONE_AT_A_TIME,
        r"in-?flight transaction limit|delegated account|gapped.nonce|delegation nonce gap|"
        r"authority already reserved|authority has pending|delegator ?has ?pending|"
        r"notcurrentnoncefordelegation",
    ),
    (
        BroadcastAnswer.NO_FUNDS,
        r"insufficient funds|insufficient balance|upfront cost|insufficientfunds",
    ),
    (
        BroadcastAnswer.NONCE_USED,
        r"nonce too low|oldnonce|old nonce|nonce is too low|nonce_too_low|invalid nonce|"
        r"replacement transaction underpriced|replacementnotallowed|could not replace|"
        r"underpriced replacement|nonce already used|same nonce in the queue",
    ),
    (
        BroadcastAnswer.UNKNOWN_TYPE,
        r"transaction type not supported|unsupported transaction type|invalid transaction type|"
        r"tx type not supported|eip-?1559.{0,120}not|does not support eip|type not valid",
    ),
    (
        BroadcastAnswer.TOO_CHEAP,
        r"underpriced|less than (the )?block base fee|(fee|price|tip|pergas).{0,30}too ?low|"
        r"(below|lower than|less than) (the |configured )*min(imum|imal)?|tip cap.*minimum needed|"
        r"minimal gas price|< pool |premium is negative|use at least|unacceptable gas price|"
        r"try increasing the (gas price|fee)|tip needed|needs to be higher",
    ),
    (
        BroadcastAnswer.POOL_FULL,
        r"txpool is full|transaction pool|pool (is )?full|queue (is )?full|account limit exceeded|"
        r"exceeded capacity",
    ),
    (
        BroadcastAnswer.REFUSED,
        r"intrinsic gas|exceeds block gas limit|gas limit.{0,30}(high|exceed)|invalid sender|"
        r"chain ?id|exceeds the configured cap|oversized|rlp|tip.{0,30}higher than max fee|"
        r"priority fee.{0,30}(higher|greater) than|out of gas|gas required exceeds",
    ),
)
_PATTERNS = tuple((answer, re.compile(words, re.I)) for answer, words in _MESSAGES)


_UNITS: Final = {"": 1, "wei": 1, "kwei": 10**3, "mwei": 10**6, "gwei": 10**9}
_AMOUNT = r"'?(?<![\w.])(\d+(?:\.\d+)?)\s?((?:[kmg]?wei)?)(?!\w)"
_FLOORS = tuple(
    (kind, re.compile(words + _AMOUNT, re.I))
    for kind, words in (
        ("tip", r"gas tip cap '?\d+, minimum needed "),  # geth, bor, BSC, op-geth
        ("tip", r"tip needed "),  # geth before 1.13
        ("tip", r"pool gas tip cap \("),  # coreth
        ("tip", r"PriorityFeePerGas too low \d+ < "),  # Nethermind
        ("tip", r"(?:tip|priority).{0,80}?(?:min|least|needed|required)[^\d:,]{0,40}"),  # reth
        ("price", r"pool minimum fee cap \("),  # coreth
        ("price", r"FeePerGas needs to be higher than "),  # Nethermind
        ("price", r"\(minimal: "),  # Parity
        ("price", r"use at least tx\.gasPrice = "),  # op-geth before Bedrock, Metis
        ("price", r"(?:price|fee).{0,80}?(?:min|least|needed|required)[^\d:,]{0,40}"),  # Hedera
    )
)
_BELOW_BASE_FEE = re.compile(
    r"less than (the )?(block )?base ?fee|maxfeepergas too low|premium is negative", re.I
)

# Cosmos SDK, which takes only the next nonce: Evmos, Cronos, Kava and others.
_EXPECTED_NONCE = re.compile(r"got (\d{1,18}), expected (\d{1,18})", re.I)


class FeeFloor(NamedTuple):
    """What a server requires, in wei per unit of gas: of the tip, and of the whole price."""

    tip: int = 0
    price: int = 0


def named_floor(message: str) -> FeeFloor:
    """What the error of a transaction that is too cheap names as required; zeros for nothing."""
    for kind, pattern in _FLOORS:
        if (found := pattern.search(message)) is not None:
            amount = int(Decimal(found[1]) * _UNITS[found[2].lower()])
            exclusive = "higher than" in found[0].lower()
            return FeeFloor(**{kind: amount + exclusive})
    return FeeFloor()


def is_below_base_fee(message: str) -> bool:
    """Whether the error says that the base fee of the block is higher than the maximum fee."""
    return _BELOW_BASE_FEE.search(message) is not None


def meaning(error: RpcError) -> BroadcastAnswer:
    """What an error means for the transaction."""
    nonces = _EXPECTED_NONCE.search(error.message)
    if nonces is not None and int(nonces[1]) > int(nonces[2]):
        return BroadcastAnswer.UNCLEAR  # it is too high: it may be taken when its turn comes
    found = (answer for answer, pattern in _PATTERNS if pattern.search(error.message))
    return next(found, BroadcastAnswer.UNCLEAR)
