from __future__ import annotations

import pytest

from infernet_edge.chain.rpc.errors import EndpointFailure, RpcError
from infernet_edge.chain.rpc.state.health import Health
from tests.support.clock import Clock


def test_pauses_grow_with_failures_in_a_row_only() -> None:
    clock = Clock()
    health = Health(clock, 10.0)
    pauses = []
    for _ in range(12):
        health.note_failure(EndpointFailure("oh"), clock.now)
        for _ in range(5):
            health.note_failure(EndpointFailure("oh"), clock.now - 0.1)
        pauses.append(health.pause)
        clock.now += health.pause + 0.01
        assert health.pause == 0
        assert health.reason == "oh"
    assert pauses[-1] > 4 * pauses[0]
    assert max(pauses) <= 15
    health.note_answer()
    assert health.reason == ""
    health.note_failure(EndpointFailure("oh", pause=7.0), clock.now)
    assert health.pause == pytest.approx(7)


def test_the_chain_is_checked_after_failures_and_now_and_then() -> None:
    clock = Clock()
    health = Health(clock, 10.0)
    assert health.must_check
    health.note_check()
    assert not health.must_check
    health.doubt()
    assert health.must_check
    assert health.is_doubted
    health.note_check()
    clock.now += 61
    assert health.must_check
    assert not health.is_doubted


def test_a_server_that_others_overtake_fails() -> None:
    clock = Clock()
    health = Health(clock, 10.0)
    for _ in range(10):
        health.note_slow(0.5, clock.now)
        health.note_slow(0.5, clock.now)
        health.note_answer()
    assert health.pause == 0
    for _ in range(3):
        health.note_slow(0.5, clock.now)
    assert health.pause > 0
    assert health.reason == "no answer within 0.5 seconds"


def test_methods_that_are_not_offered() -> None:
    clock = Clock()
    health = Health(clock, 10.0)
    refused = RpcError(-32601, "rpc method is not whitelisted")
    health.note_method("eth_feeHistory", refused)
    assert health.lacking == "", "the node needs no such method"
    health.note_method("eth_estimateGas", refused)
    assert health.lacks("eth_estimateGas")
    assert health.lacking == "it does not offer eth_estimateGas (rpc method is not whitelisted)"
    health.note_method("eth_call", RpcError(3, "execution reverted"))
    assert not health.lacks("eth_call")
    clock.now += 301
    assert not health.lacks("eth_estimateGas")
    health.note_method("eth_estimateGas", refused)
    health.note_method("eth_estimateGas", "0x5208")
    assert not health.lacks("eth_estimateGas")
    for number in range(1000):
        health.note_method(f"method_{number}", refused)
    assert sum(health.lacks(f"method_{number}") for number in range(1000)) < 50
