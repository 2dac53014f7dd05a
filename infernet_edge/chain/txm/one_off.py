"""A single transaction of the command line, sent and waited for.

It is not in the database, which belongs to the running node. Should the node use the same nonce at
the same moment, the node notices that and uses another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from infernet_edge.chain.contracts.reverts import revert_reason
from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.txm.broadcast_errors import BroadcastAnswer
from infernet_edge.chain.txm.conditions import ConditionsReader, LearnedFloor
from infernet_edge.chain.txm.fees import choose_fees
from infernet_edge.chain.txm.receipts import is_mined, receipt_question
from infernet_edge.chain.txm.signing import broadcast, sign
from infernet_edge.chain.txm.store import Transaction
from infernet_edge.errors import InfernetEdgeError

_GAS_MARGIN = 5, 4  # of the estimate: storage may have changed until it is mined
_TRIES = 16  # broadcasts, with other nonces and higher fees
_POLL_PERIOD = 1.0  # seconds


class NotDone(InfernetEdgeError):
    """The transaction was not sent; the text says why."""


class NotMined(NotDone):
    """It was sent, and not mined in time; it may be later."""


class Receipt(NamedTuple):
    """What became of a transaction. `logs` are the events of its contracts, as the RPC has them."""

    succeeded: bool  # False: it was reverted, and is paid for nonetheless
    hash: str
    block: int
    gas_used: int
    logs: list[dict[str, Any]]


async def send_and_wait(
    rpc: RpcClient,
    account: LocalAccount,
    to: str,
    data: bytes,
    *,
    timeout: float,
    on_sent: Callable[[str], object],
) -> Receipt:
    """Call a contract in a transaction and wait until it is mined, `timeout` seconds at most.

    `on_sent` is called with the transaction's hash as soon as it may be in flight. Raises NotDone,
    NotMined, and RpcUnavailable when nothing was sent.
    """
    to = to_checksum_address(to)
    gas = await _estimate(rpc, account.address, to, data)
    reader, floor = ConditionsReader(rpc, account.address, HeadTracker(rpc, 1.0)), LearnedFloor()
    conditions = await reader.now()
    nonce, legacy = conditions.next_nonce, False
    for _ in range(_TRIES):
        fees = choose_fees(conditions, None, legacy=legacy, floor=floor.now)
        if gas * fees.max_fee > conditions.balance:
            raise NotDone(
                f"Insufficient funds: it may cost {gas * fees.max_fee} wei and {account.address}"
                f" has {conditions.balance} wei. Send the account some coins."
            )
        transaction = Transaction(
            0, "", int(rpc.chain_id or 0), account.address, nonce, to, data, gas, None
        )
        signed = await sign(account, transaction, fees)
        result = await broadcast(rpc, signed)
        if result.answer in (BroadcastAnswer.TAKEN, BroadcastAnswer.UNCLEAR):
            on_sent(signed.hash)
            return await _wait(rpc, signed.hash, timeout)
        if result.answer is BroadcastAnswer.UNKNOWN_TYPE and not legacy:
            legacy = True
        elif result.answer is BroadcastAnswer.NONCE_USED:
            nonce += 1  # the node may have sent some, which not all servers count
        elif result.answer is BroadcastAnswer.TOO_CHEAP and await floor.learn(
            result.message, fees, reader
        ):
            conditions = await reader.now()
        else:
            break
    raise NotDone(f"The transaction was refused: {result.message}")


async def _estimate(rpc: RpcClient, sender: str, to: str, data: bytes) -> int:
    call = {"from": sender, "to": to, "data": "0x" + data.hex()}
    try:
        estimate = quantity(await rpc.call("eth_estimateGas", [call]))
    except RpcError as error:
        reason = revert_reason(error.data) if error.is_revert else error
        raise NotDone(f"The contract {to} would refuse it: {reason}") from None
    return estimate * _GAS_MARGIN[0] // _GAS_MARGIN[1]


async def _wait(rpc: RpcClient, hash_: str, timeout: float) -> Receipt:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        receipt = await _receipt(rpc, hash_)
        if receipt is not None:
            return Receipt(
                quantity(receipt.get("status", "0x1")) != 0,
                hash_,
                quantity(receipt.get("blockNumber")),
                quantity(receipt.get("gasUsed", "0x0")),
                receipt.get("logs") or [],
            )
        await asyncio.sleep(_POLL_PERIOD)
    raise NotMined(
        f"The transaction {hash_} was sent but is not mined after {timeout:.0f} seconds."
    )


async def _receipt(rpc: RpcClient, hash_: str) -> dict[str, Any] | None:
    try:
        receipt = await rpc.call(*receipt_question(hash_))
    except (RpcError, RpcUnavailable):
        return None
    return receipt if is_mined(receipt) else None
