"""Signs transactions, and gives them to a server."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from eth_account.signers.local import LocalAccount

from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable
from infernet_edge.chain.txm.broadcast_errors import BroadcastAnswer, meaning
from infernet_edge.chain.txm.fees import Fees
from infernet_edge.chain.txm.receipts import receipt_question
from infernet_edge.chain.txm.store import Signed, Transaction


class BroadcastResult(NamedTuple):
    """A server's answer to a transaction, and the message of its error, "" for none."""

    answer: BroadcastAnswer
    message: str


async def sign(account: LocalAccount, transaction: Transaction, fees: Fees) -> Signed:
    """Sign a transaction with its nonce and these fees."""
    fields: dict[str, Any] = {
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "to": transaction.target,
        "value": 0,
        "data": transaction.data,
        "gas": transaction.gas,
        **fees.fields(),
    }
    # Signing is Python's own arithmetic: tens of milliseconds on a small board.
    signed = await asyncio.to_thread(account.sign_transaction, fields)
    return Signed("0x" + bytes(signed.hash).hex(), bytes(signed.raw_transaction), *fees)


async def broadcast(rpc: RpcClient, signed: Signed) -> BroadcastResult:
    """Give a signed transaction to one server, once.

    The answer is NONCE_USED only when another transaction has the nonce, as far as servers know.
    """
    try:
        await rpc.call_once("eth_sendRawTransaction", ["0x" + signed.raw.hex()])
    except RpcError as error:
        answer = meaning(error)
        if answer is BroadcastAnswer.NONCE_USED:
            answer = await _used_by(rpc, signed)
        return BroadcastResult(answer, error.message)
    except RpcUnavailable as error:
        return BroadcastResult(BroadcastAnswer.UNCLEAR, str(error))
    return BroadcastResult(BroadcastAnswer.TAKEN, "")


async def broadcast_again(rpc: RpcClient, signed: Signed) -> BroadcastResult:
    """Give bytes whose former broadcast had no effect to all servers.

    One may answer for reads only, or take transactions that no other one ever sees.
    """
    result = await broadcast(rpc, signed)
    if await rpc.spread("eth_sendRawTransaction", ["0x" + signed.raw.hex()]):
        return BroadcastResult(BroadcastAnswer.TAKEN, result.message)
    return result


async def _used_by(rpc: RpcClient, signed: Signed) -> BroadcastAnswer:
    """What a nonce that is used means: what balances the load may have sent these bytes twice.

    The second answer comes then: the nonce is used by the transaction itself.
    """
    calls = [("eth_getTransactionByHash", [signed.hash]), receipt_question(signed.hash)]
    try:
        answers = await rpc.batch(calls)
    except RpcUnavailable:
        return BroadcastAnswer.UNCLEAR
    known = any(isinstance(answer, dict) for answer in answers)
    return BroadcastAnswer.TAKEN if known else BroadcastAnswer.NONCE_USED
