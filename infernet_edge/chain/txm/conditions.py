"""What new transactions have to reckon with: asked once for each block, for all of them.

Beside it stands what servers were found to require although they suggest less.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from infernet_edge.chain.rpc.client import RpcClient, RpcError, RpcUnavailable, quantity
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.txm.broadcast_errors import FeeFloor, is_below_base_fee, named_floor
from infernet_edge.chain.txm.fees import (
    MAX_GAS_PRICE,
    Conditions,
    Fees,
    ask_conditions,
    higher_tip,
)

_MAX_AGE = 15.0  # seconds for which conditions count while no block comes
_FLOOR_SECONDS = 3600.0  # for which a floor counts; it may have been lowered
_HISTORY_BLOCKS = 10
_HISTORY_PERIOD = 10.0  # seconds between two questions for the tips of blocks
_HISTORY_RETRY = 3600.0  # seconds until a server that does not know them is asked again


class ConditionsReader:
    """Reads the conditions of one account from the server, once per block, and keeps them."""

    def __init__(self, rpc: RpcClient, address: str, head: HeadTracker) -> None:
        self._rpc = rpc
        self._address = address
        self._head = head
        self._known: Conditions | None = None
        self._asked_at = -math.inf
        self._head_then = ""  # the hash of the head when it was asked
        self._lock = asyncio.Lock()
        self._tip = 0
        self._history_at = -math.inf

    async def now(self) -> Conditions:
        """The conditions as of the newest block that is known. Raises RpcUnavailable."""
        async with self._lock:
            if self._known is not None and self._is_current(self._known):
                return self._known
            return await self._ask()

    async def fresh(self, max_age: float = 0.0) -> Conditions:
        """The conditions as the server says now, or said `max_age` seconds ago at most.

        Raises RpcUnavailable.
        """
        began = time.monotonic() - max_age
        async with self._lock:
            if self._known is not None and self._asked_at >= began:
                return self._known  # another one has asked meanwhile
            return await self._ask()

    def _is_current(self, known: Conditions) -> bool:
        """Whether no block came since: the head is as it was, or the block of the conditions."""
        latest = self._head.latest
        if latest is None or time.monotonic() - self._asked_at >= _MAX_AGE:
            return False
        if latest.hash == known.block.hash:
            self._head_then = known.block.hash  # the one before it may come back in a reorg
        return latest.hash == self._head_then

    async def _ask(self) -> Conditions:
        began, latest = time.monotonic(), self._head.latest
        conditions = await ask_conditions(self._rpc, self._address)
        if not conditions.suggests_tip or not conditions.priority_fee:
            tip = await self.tip_of_blocks()
            conditions = conditions._replace(priority_fee=max(conditions.priority_fee, tip))
        self._known, self._asked_at = conditions, began
        self._head_then = "" if latest is None else latest.hash
        return conditions

    async def tip_of_blocks(self) -> int:
        """What transactions in the last blocks paid beyond the base fee; 0 for unknown.

        In wei per gas, a median. Asked for at most once in some seconds.
        """
        now = time.monotonic()
        if now < self._history_at:
            return self._tip
        self._history_at = now + _HISTORY_PERIOD
        try:
            history = await self._rpc.call("eth_feeHistory", [hex(_HISTORY_BLOCKS), "latest", [50]])
            self._tip = min(_median_tip(history), MAX_GAS_PRICE)
        except (RpcError, ValueError):
            self._history_at = now + _HISTORY_RETRY
        except RpcUnavailable:
            pass  # the last answer counts on
        return self._tip


def _median_tip(history: Any) -> int:
    """The median of the rewards of blocks that are not empty. Raises ValueError."""
    try:
        rewards = [quantity(reward) for [reward] in history["reward"] or []]
        used = [float(ratio) for ratio in history["gasUsedRatio"]]
    except (KeyError, TypeError) as error:
        raise ValueError("not a fee history") from error
    tips = sorted(reward for reward, ratio in zip(rewards, used, strict=False) if ratio > 0)
    return tips[len(tips) // 2] if tips else 0


class LearnedFloor:
    """What servers require of fees, as their refusals say or suggest. Forgotten after an hour."""

    def __init__(self) -> None:
        self._floor = FeeFloor()
        self._until = -math.inf

    @property
    def now(self) -> FeeFloor:
        """The floor that counts now."""
        return self._floor if time.monotonic() < self._until else FeeFloor()

    async def learn(self, message: str, refused: Fees, reader: ConditionsReader) -> bool:
        """Raise the floor after a refusal of fees that were too low; False: nothing is learned.

        To what the server names, else to what blocks pay, else by a step. Raises RpcUnavailable.
        """
        if is_below_base_fee(message):
            fresh = await reader.fresh()
            if 2 * (fresh.block.base_fee or 0) > refused.max_fee:
                return True  # nothing is kept: it changes with each block
        before, named = self.now, named_floor(message)
        tip, price = refused.priority_fee or 0, refused.max_fee
        if max(named) > MAX_GAS_PRICE:
            return False
        if named.tip > tip or named.price > price:
            floor = FeeFloor(max(before.tip, named.tip), max(before.price, named.price))
        else:
            conditions = await reader.now()
            if refused.priority_fee is None:
                tip = max(0, price - (conditions.block.base_fee or 0))
            usual = await reader.tip_of_blocks()
            stepped = usual if usual > tip else higher_tip(tip, conditions)
            if stepped is None:
                return False
            floor = FeeFloor(max(before.tip, stepped), before.price)
        if floor == before:
            return False
        self._floor, self._until = floor, time.monotonic() + _FLOOR_SECONDS
        return True
