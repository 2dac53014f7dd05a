"""The contract in which a node is paid, as it is now: whose it is, what it holds, what is locked.

It is a wallet that Infernet's WalletFactory made (SDK 1.x). Amounts are in wei, those of tokens in
their smallest unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from msgspec import Struct

from infernet_edge.chain.contracts.abi import (
    IS_VALID_WALLET,
    WALLET_ALLOWANCE,
    WALLET_CREATED,
    WALLET_OWNER,
    WALLET_WITHDRAW,
    Function,
    UnexpectedReply,
    balance_question,
    eth_call,
)
from infernet_edge.chain.contracts.registry import to_bytes
from infernet_edge.chain.contracts.reverts import revert_reason
from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity

_TRIED_AT_ONCE = 8  # withdrawals that are tried in one request


class Holding(Struct, frozen=True):
    """What the wallet has of one token; None stands for what its contract does not say.

    `free` is what the owner can withdraw: the rest of `balance` is locked for proofs. `allowance`
    is what a spender may spend; of the node's account it is what its proofs may lock.
    """

    token: str
    balance: int | None
    free: int | None
    allowance: int | None

    @property
    def locked(self) -> int | None:
        """What waits for a verifier's verdict."""
        return None if self.balance is None or self.free is None else self.balance - self.free


class PaymentWallet(Struct, frozen=True):
    """`valid`: the factory made it. `owner` is None where there is no such contract."""

    address: str
    valid: bool
    owner: str | None
    holdings: list[Holding]


async def is_valid_wallet(rpc: RpcClient, factory: str, address: str) -> bool | None:
    """Whether the factory made it; None when there is no factory. Raises RpcUnavailable."""
    [valid] = await _ask(rpc, [eth_call(factory, IS_VALID_WALLET.encode(address))])
    decoded: bool | None = _decode(IS_VALID_WALLET, valid)
    return decoded


async def ask_wallet(
    rpc: RpcClient, factory: str, address: str, spender: str, tokens: Iterable[str]
) -> PaymentWallet:
    """Read all of it in one batch, and in one more for each token that it holds.

    Raises RpcUnavailable.
    """
    tokens = list(tokens)
    questions = [
        eth_call(factory, IS_VALID_WALLET.encode(address)),
        eth_call(address, WALLET_OWNER.encode()),
    ]
    for token in tokens:
        questions.append(balance_question(token, address))
        questions.append(eth_call(address, WALLET_ALLOWANCE.encode(spender, token)))
    valid, owner_, *amounts = await _ask(rpc, questions)
    owner = _decode(WALLET_OWNER, owner_)
    holdings = []
    for token, balance_, allowance in zip(tokens, amounts[::2], amounts[1::2], strict=True):
        balance, free = _number(balance_), None
        if balance is not None and owner is not None:
            free = await _withdrawable(rpc, address, owner, token, balance)
        holdings.append(Holding(token, balance, free, _decode(WALLET_ALLOWANCE, allowance)))
    return PaymentWallet(address, _decode(IS_VALID_WALLET, valid) is True, owner, holdings)


def created_wallet(logs: Iterable[dict[str, Any]], factory: str) -> str | None:
    """The wallet that a transaction made, by its logs; None when it made none.

    The event is `WalletCreated(address indexed caller, address indexed owner, address wallet)`.
    """
    for log in logs:
        topics = log.get("topics") or [""]
        if str(log.get("address")).lower() != factory.lower() or topics[0] != WALLET_CREATED:
            continue
        try:
            return str(to_checksum_address(decode(["address"], to_bytes(log.get("data")))[0]))
        except (DecodingError, UnexpectedReply):
            return None
    return None


async def _withdrawable(
    rpc: RpcClient, wallet: str, owner: str, token: str, balance: int
) -> int | None:
    """The most that the owner could withdraw now; None when any withdrawal would fail.

    No function of the contract returns what is locked, so withdrawals are tried, in calls that
    change nothing: first of everything, then closer and closer to the largest that is not refused.
    """
    low, high = 0, balance  # `low` can be withdrawn, more than `high` cannot
    amounts = [balance]
    while low < high:
        calls = [
            eth_call(wallet, WALLET_WITHDRAW.encode(token, amount), sender=owner)
            for amount in amounts
        ]
        for amount, answer in zip(amounts, await _ask(rpc, calls), strict=True):
            if not isinstance(answer, RpcError):
                low = amount
            elif revert_reason(answer.data).name == "InsufficientFunds":
                high = amount - 1
                break
            else:
                return None
        span = high - low
        amounts = sorted(
            {low + -(-span * part // _TRIED_AT_ONCE) for part in range(1, _TRIED_AT_ONCE + 1)}
        )
    return low


async def _ask(rpc: RpcClient, questions: Sequence[Call]) -> list[Any]:
    answers = await rpc.batch(questions)
    for answer in answers:
        if isinstance(answer, RpcError) and answer.is_transient:
            raise RpcUnavailable(f"The server has a problem: {answer}")
    return answers


# A contract of another kind refuses such questions, or says nothing.


def _decode(function: Function, answer: Any) -> Any:
    try:
        return function.decode(to_bytes(answer))
    except UnexpectedReply:
        return None


def _number(answer: Any) -> int | None:
    try:
        return quantity(answer)
    except ValueError:
        return None
