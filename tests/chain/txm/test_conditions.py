"""Conditions are kept until the next block; floors are kept for an hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infernet_edge.chain.rpc.client import RpcClient
from infernet_edge.chain.rpc.head_tracker import HeadTracker
from infernet_edge.chain.txm import conditions as module
from infernet_edge.chain.txm.broadcast_errors import FeeFloor
from infernet_edge.chain.txm.conditions import ConditionsReader, LearnedFloor
from infernet_edge.chain.txm.fees import Fees
from infernet_edge.http_client.client import HttpClient
from tests.support.evm import NODE
from tests.support.scripted_rpc import RpcFault, ScriptedRpc

GWEI = 10**9
UNKNOWN = {"code": -32601, "message": "the method does not exist"}


class Server(ScriptedRpc):
    """A chain whose head is set."""

    def __init__(self) -> None:
        super().__init__()
        self.head = 1
        self.results |= {
            "eth_getBlockByNumber": lambda *_: self.block(),
            "eth_getTransactionCount": "0x5",
            "eth_getBalance": "0x100",
            "eth_gasPrice": hex(12 * GWEI),
            "eth_maxPriorityFeePerGas": hex(2 * GWEI),
        }

    def block(self) -> dict[str, Any]:
        number = hex(self.head)
        return {
            "number": number,
            "timestamp": number,
            "hash": f"0xb{self.head}",
            "baseFeePerGas": hex(10 * GWEI),
        }

    def fail(self, method: str) -> None:
        def refuse(*_: Any) -> Any:
            raise RpcFault(UNKNOWN)

        self.results[method] = refuse

    def pay(self, *tips: int, used: float = 0.5) -> None:
        """What the transactions in the last blocks pay beyond the base fee."""
        rewards = [[hex(tip)] for tip in tips]
        self.results["eth_feeHistory"] = {"reward": rewards, "gasUsedRatio": [used] * len(tips)}


class Asking:
    """A reader, its head and its server."""

    def __init__(self, server: Server, rpc: RpcClient) -> None:
        self.server = server
        self.head = HeadTracker(rpc, 0.01)
        self.reader = ConditionsReader(rpc, NODE.address, self.head)

    @property
    def asked(self) -> int:
        return self.server.asked("eth_getBalance")


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    async with Server() as server, HttpClient() as http:
        rpc = RpcClient(http, [server.url])
        yield Asking(server, rpc)
        await rpc.close()


async def test_once_for_each_block(asking: Asking) -> None:
    await asking.head.poll()
    for head in (1, 2):
        asking.server.head = head
        await asking.head.poll()
        await asyncio.gather(*(asking.reader.now() for _ in range(9)))
        assert asking.asked == head


async def test_a_server_that_knows_the_next_block_already(asking: Asking) -> None:
    await asking.head.poll()
    asking.server.head = 2
    assert (await asking.reader.now()).block.number == 2
    await asking.reader.now()
    await asking.head.poll()
    await asking.reader.now()
    assert asking.asked == 1
    asking.server.head = 1  # a reorg, or a chain that is begun anew
    asking.server.results["eth_getTransactionCount"] = "0x0"
    for _ in range(4):
        await asking.head.poll()
    assert (await asking.reader.now()).next_nonce == 0


async def test_no_longer_than_some_seconds(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_AGE", 0.0)
    await asking.head.poll()
    await asking.reader.now()
    await asking.reader.now()
    assert asking.asked == 2


async def test_fresh_ones_are_shared(asking: Asking) -> None:
    await asking.head.poll()
    await asking.reader.now()
    await asyncio.gather(*(asking.reader.fresh() for _ in range(9)))
    assert asking.asked == 3, "the first, and once for those that came while it was asked"
    await asking.reader.fresh(60.0)
    assert asking.asked == 3


@pytest.mark.parametrize(
    ("suggested", "paid", "expected"),
    [
        (None, (7 * GWEI, 9 * GWEI, 8 * GWEI), 8 * GWEI),
        (None, (), 2 * GWEI),  # the price of gas without the base fee
        (0, (GWEI,), GWEI),
        (0, (0, 0), 0),
        (GWEI, (9 * GWEI,), GWEI),
    ],
)
async def test_a_second_opinion_where_a_server_suggests_nothing(
    asking: Asking, suggested: int | None, paid: tuple[int, ...], expected: int
) -> None:
    asking.server.pay(*paid)
    if suggested is None:
        asking.server.fail("eth_maxPriorityFeePerGas")
    else:
        asking.server.results["eth_maxPriorityFeePerGas"] = hex(suggested)
    assert (await asking.reader.now()).priority_fee == expected


@pytest.mark.parametrize("answer", [None, "0x1", {"reward": None}, {"reward": [["x"]]}, "error"])
async def test_a_server_without_a_history_is_not_asked_again(asking: Asking, answer: Any) -> None:
    asking.server.results["eth_feeHistory"] = answer
    if answer == "error":
        asking.server.fail("eth_feeHistory")
    asking.server.results["eth_maxPriorityFeePerGas"] = "0x0"
    for _ in range(3):
        assert (await asking.reader.fresh()).priority_fee == 0
    assert asking.server.asked("eth_feeHistory") == 1


async def test_empty_blocks_say_nothing(asking: Asking) -> None:
    asking.server.pay(GWEI, GWEI, used=0)
    assert await asking.reader.tip_of_blocks() == 0
    await asking.reader.tip_of_blocks()
    assert asking.server.asked("eth_feeHistory") == 1, "not with each question"


async def test_floors_are_forgotten(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    floor = LearnedFloor()
    refused = Fees(20 * GWEI, GWEI)
    assert await floor.learn(f"tip needed {3 * GWEI}", refused, asking.reader)
    assert floor.now == FeeFloor(tip=3 * GWEI)
    assert await floor.learn("pool minimum fee cap (30000000000)", refused, asking.reader)
    assert floor.now == FeeFloor(3 * GWEI, 30 * GWEI)
    assert not await floor.learn(f"tip needed {3 * GWEI}", refused, asking.reader), "known"
    monkeypatch.setattr(module, "_FLOOR_SECONDS", 0.0)
    assert await floor.learn(f"tip needed {4 * GWEI}", refused, asking.reader)
    assert floor.now == FeeFloor()


async def test_steps_for_a_plain_gas_price(asking: Asking) -> None:
    """The part of it beyond the base fee is raised."""
    floor = LearnedFloor()
    assert await floor.learn("transaction underpriced", Fees(12 * GWEI, None), asking.reader)
    assert floor.now == FeeFloor(tip=4 * GWEI)
