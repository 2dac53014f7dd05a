"""Reorgs, as heads show them that follow each other."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.rpc.client import RpcError
from infernet_edge.chain.rpc.head_tracker import BlockHeader
from infernet_edge.chain.subscriptions.reorg import ReorgDetector


def block(number: int, name: str = "a", parent: str = "") -> BlockHeader:
    return BlockHeader(
        number, number * 12, f"{name}{number}", None, parent or f"{name}{number - 1}"
    )


@pytest.fixture
def detector() -> ReorgDetector:
    return ReorgDetector()


def test_blocks_that_follow_each_other_are_no_reorg(detector: ReorgDetector) -> None:
    for number in (10, 11, 11, 12):
        assert detector.observe(block(number)) is None
        assert detector.doubted is None


def test_a_server_that_names_no_parent_is_believed(detector: ReorgDetector) -> None:
    detector.observe(block(10))
    assert detector.observe(block(11)._replace(parent="")) is None


@pytest.mark.parametrize(
    ("head", "fallen"),
    [
        (block(11, "b", parent="b10"), -1),  # the one before it was replaced
        (block(10, "b"), 0),  # the same height, another block
        (block(7, "b"), 3),
        (block(7), 3),  # a lower head is another block, whatever came before it
    ],
)
def test_a_head_that_does_not_follow_is_a_reorg(
    detector: ReorgDetector, head: BlockHeader, fallen: int
) -> None:
    detector.observe(block(10))
    assert detector.observe(head) == fallen
    assert detector.doubted is None
    assert detector.observe(block(head.number + 1, parent=head.hash)) is None


@pytest.mark.parametrize(
    ("found", "fallen"),
    [
        ({"hash": "a10"}, None),
        ({"hash": "b10"}, -1),
        ({}, None),
        (None, None),  # the server lags
        (RpcError(-32000, "no such block", b""), None),
    ],
)
def test_after_a_jump_the_block_before_it_is_asked_for(
    detector: ReorgDetector, found: Any, fallen: int | None
) -> None:
    detector.observe(block(10))
    assert detector.observe(block(15)) is None
    assert detector.doubted == block(10)
    assert detector.observe(block(16), found) == fallen
    assert detector.doubted is None


def test_after_each_jump_the_newest_block_is_in_doubt(detector: ReorgDetector) -> None:
    for number in (10, 15, 20):
        detector.observe(block(number), {"hash": f"a{number - 10}"})
    assert detector.doubted == block(15)
