"""What a transaction pays for gas: EIP-1559 with two fees, or one gas price where that is unknown.

All prices are in wei per unit of gas.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from infernet_edge.chain.rpc.client import Call, RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import LATEST_BLOCK, BlockHeader, parse_block
from infernet_edge.chain.txm.broadcast_errors import FeeFloor
from infernet_edge.errors import InfernetEdgeError

MAX_GAS_PRICE: Final = 10**15  # wei, a million gwei; a server that gives more is wrong
_GWEI = 10**9
_MIN_STEPPED_TIP = 10**6  # wei; the least that geth's own miner takes
_MAX_STEPPED_TIP = 64 * _GWEI  # where servers name no floor; twice the highest known one
_NO_FLOOR: Final = FeeFloor()


class Fees(NamedTuple):
    """`priority_fee` is None where there is only a gas price, which is `max_fee` then."""

    max_fee: int
    priority_fee: int | None

    def fields(self) -> dict[str, int]:
        """The fields of a transaction with these fees."""
        if self.priority_fee is None:
            return {"gasPrice": self.max_fee}
        return {
            "type": 2,
            "maxFeePerGas": self.max_fee,
            "maxPriorityFeePerGas": self.priority_fee,
        }


class Conditions(NamedTuple):
    """What a new transaction of an account has to reckon with now."""

    block: BlockHeader
    next_nonce: int  # after everything that waits to be mined
    mined_nonce: int  # after everything that is mined
    balance: int  # wei
    gas_price: int
    priority_fee: int
    suggests_tip: bool = True  # the server knows eth_maxPriorityFeePerGas


class PriceTooHigh(InfernetEdgeError):
    """The chain asks for more than a transaction may pay."""


async def ask_conditions(rpc: RpcClient, address: str) -> Conditions:
    """Read all of them in one batch. Raises RpcUnavailable."""
    calls: list[Call] = [
        LATEST_BLOCK,
        ("eth_getTransactionCount", [address, "latest"]),
        ("eth_getTransactionCount", [address, "pending"]),
        ("eth_getBalance", [address, "latest"]),
        ("eth_gasPrice", []),
        ("eth_maxPriorityFeePerGas", []),
    ]
    block_, mined_, pending_, *answers, priority_answer = await rpc.batch(calls)
    try:
        block = parse_block(block_)
        mined = quantity(mined_)
        # Without it, the broadcaster leaves out the nonces of its own transactions in flight.
        pending = quantity(mined_ if isinstance(pending_, RpcError) else pending_)
        balance, price = (quantity(answer) for answer in answers)
        priority = _priority_fee(priority_answer, price, block.base_fee)
    except ValueError as error:
        asked = (block_, mined_, *answers)
        problem = next((answer for answer in asked if isinstance(answer, RpcError)), error)
        raise RpcUnavailable(f"The server does not say what gas costs: {problem}") from None
    if max(price, priority, block.base_fee or 0) > MAX_GAS_PRICE:
        raise RpcUnavailable("The server asks for a gas price that cannot be right")
    suggests = not isinstance(priority_answer, RpcError)
    return Conditions(block, max(pending, mined), mined, balance, price, priority, suggests)


def _priority_fee(answer: Any, gas_price: int, base_fee: int | None) -> int:
    """What the server suggests; not all of them know the method."""
    if isinstance(answer, RpcError):
        return max(0, gas_price - (base_fee or 0))
    return quantity(answer)


def choose_fees(
    conditions: Conditions, cap: int | None, *, legacy: bool, floor: FeeFloor = _NO_FLOOR
) -> Fees:
    """Fees that suffice until the base fee has doubled, six full blocks at least (EIP-1559).

    `legacy` asks for a plain gas price; `floor` is what servers require. Raises PriceTooHigh when
    `cap` is below that, or below the base fee.
    """
    base_fee = conditions.block.base_fee or 0
    priority_fee = max(conditions.priority_fee, floor.tip)
    required = max(base_fee, floor.price, floor.tip)
    if cap is not None and cap < required:
        raise PriceTooHigh(
            f"Gas costs {required} wei now, and this transaction may pay {cap} wei at most"
        )
    if conditions.block.base_fee is None or legacy:
        price = max(conditions.gas_price, base_fee * 5 // 4, base_fee + floor.tip, floor.price)
        return Fees(price if cap is None else min(price, cap), None)
    max_fee = max(2 * base_fee + priority_fee, floor.price)
    if cap is not None:
        max_fee = min(max_fee, cap)
    return Fees(max_fee, min(priority_fee, max_fee))


def raise_fees(
    before: Fees, conditions: Conditions, cap: int | None, floor: FeeFloor = _NO_FLOOR
) -> Fees:
    """Fees for a transaction that replaces one with the same nonce.

    Servers require at least 10 % more of both, some 12.5 % (geth's PriceBump is 10, that of Parity
    was 12.5). Raises PriceTooHigh when that is more than `cap`.
    """
    fresh = choose_fees(conditions, cap, legacy=before.priority_fee is None, floor=floor)
    least = _raised(before.max_fee)
    if cap is not None and cap < least:
        raise PriceTooHigh(f"Replacing it takes {least} wei per gas, and it may pay {cap} wei")
    max_fee = max(least, fresh.max_fee)
    if before.priority_fee is None or fresh.priority_fee is None:
        return Fees(max_fee, None)
    return Fees(max_fee, min(max_fee, max(_raised(before.priority_fee), fresh.priority_fee)))


def _raised(price: int) -> int:
    return price + price // 8 + 1


def higher_tip(tip: int, conditions: Conditions) -> int | None:
    """The next tip to try after one that was too low, where the server names no floor.

    None: it was raised as far as is reasonable.
    """
    stepped = 2 * tip if tip >= _GWEI else min(_GWEI, max(_MIN_STEPPED_TIP, 10 * tip))
    limit = max(_MAX_STEPPED_TIP, 2 * conditions.priority_fee)
    return stepped if stepped <= limit else None
