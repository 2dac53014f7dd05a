"""Which transactions a JSON-RPC server's mempool takes, by the rules of geth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from tests.support.rpc_behaviours import (
    GAPPED_NONCE,
    IN_FLIGHT_LIMIT,
    TIP_REFUSALS,
    Behaviour,
    Reply,
)

Ask = Callable[[list[dict[str, Any]]], Awaitable[list[Reply]]]


class Sent(NamedTuple):
    """What a signed transaction says: its sender, nonce, and tip in wei per unit of gas."""

    sender: str
    nonce: int
    tip: int


def decoded(raw: str) -> Sent:
    """A transaction of type 2, as the node sends them."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    sender = str(Account.recover_transaction(raw))
    return Sent(sender, int(fields["nonce"]), int(fields["maxPriorityFeePerGas"]))


def transaction_hash(raw: str) -> str:
    """The hash by which a transaction is known."""
    return "0x" + keccak(hexstr=raw).hex()


async def transaction_error(behaviour: Behaviour, raw: str, ask: Ask) -> str | None:
    """Why a transaction is refused; None: it is not."""
    if not behaviour.min_tip_wei and behaviour.max_in_flight is None:
        return None
    sent = decoded(raw)
    if sent.tip < behaviour.min_tip_wei:
        form = TIP_REFUSALS[behaviour.tip_refusal]
        return form.format(tip=sent.tip, floor=behaviour.min_tip_wei)
    if behaviour.max_in_flight is not None:
        mined, waiting = await _counts(sent.sender, ask)
        if sent.nonce > waiting:
            return GAPPED_NONCE
        if sent.nonce == waiting and waiting - mined >= behaviour.max_in_flight:
            return IN_FLIGHT_LIMIT
    return None


async def _counts(sender: str, ask: Ask) -> tuple[int, int]:
    """How many transactions of an account are in blocks, and how many in addition wait."""
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": "eth_getTransactionCount", "params": [sender, tag]}
        for n, tag in enumerate(("latest", "pending"))
    ]
    mined, waiting = [int(reply["result"], 16) for reply in await ask(calls)]
    return mined, waiting
