from __future__ import annotations

import pytest

from infernet_edge.chain.rpc.state.answer_times import AnswerTimes


def used(seconds: float, count: int = 50) -> AnswerTimes:
    times = AnswerTimes(10.0)
    for _ in range(count):
        times.answered(["eth_call"], seconds)
    return times


def test_unknown_methods_get_long() -> None:
    times = AnswerTimes(10.0)
    assert times.limit(["eth_call"]) == 5
    assert AnswerTimes(0.4).limit(["eth_call"]) == 0.4
    times.answered(["eth_call"], 0.1)
    assert times.limit(["eth_call", "eth_getLogs"]) == 5


@pytest.mark.parametrize(("usual", "limit"), [(0.01, 1.0), (0.4, 1.0), (1.5, 3.0), (6.0, 10.0)])
def test_the_limit_follows_the_usual_time(usual: float, limit: float) -> None:
    found = used(usual).limit(["eth_call"])
    assert limit <= found <= max(limit, 3 * usual)
    assert found > usual


def test_a_server_that_became_slow_is_waited_for() -> None:
    times = used(0.05)
    tries = 0
    while (limit := times.limit(["eth_call"])) < 6.0:
        times.timed_out(["eth_call"], limit)
        tries += 1
    assert tries <= 4
    times.answered(["eth_call"], 6.0)
    for _ in range(20):
        times.answered(["eth_call"], 6.0)
    assert times.limit(["eth_call"]) > 6.0
    for _ in range(100):
        times.answered(["eth_call"], 0.05)
    assert times.limit(["eth_call"]) == 1.0


def test_calls_that_timed_out_get_longer_limits() -> None:
    times = used(0.05)
    assert [times.limit(["eth_call"], n) for n in (0, 1, 2, 3, 4, 100)] == [1, 2, 4, 8, 10, 10]


def test_a_late_answer_is_one_that_takes_longer_than_usual() -> None:
    assert used(0.01).hedge_after(["eth_call"]) == 0.25
    assert 0.5 < used(0.5).hedge_after(["eth_call"]) <= 1.5
    assert used(8.0).hedge_after(["eth_call"]) == 5.0
    assert AnswerTimes(10.0).hedge_after(["eth_call"]) == 1.0


def test_memory_is_bounded() -> None:
    times = AnswerTimes(10.0)
    for number in range(1000):
        times.answered([f"method_{number}"], 0.1)
    assert times.limit(["method_999"]) == 5
    assert times.limit(["method_1"]) == 1
