from __future__ import annotations

from infernet_edge.chain.rpc.state.window import Window
from tests.support.clock import Clock


def test_few_requests_at_first_and_more_while_all_are_in_use() -> None:
    clock = Clock()
    window = Window(clock)
    assert window.is_open(3)
    assert not window.is_open(4)
    for _ in range(100):
        clock.now += 1
        window.answered(2)
    assert not window.is_open(4), "not all were in use"
    for _ in range(100):
        window.answered(4)
    assert not window.is_open(5), "one more at a time"
    for running in range(5, 16):
        clock.now += 0.3
        window.answered(running)
    assert window.is_open(15)
