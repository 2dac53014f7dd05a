from __future__ import annotations

import random

from infernet_edge.chain.rpc.state.counters import HourlyCount
from tests.support.clock import Clock


def test_it_counts_the_last_hour_exact_to_a_minute() -> None:
    chance = random.Random(1)
    for longest in (1.0, 60.0, 900.0):
        clock = Clock()
        count = HourlyCount(clock)
        moments = []
        for _ in range(200):
            clock.now += chance.uniform(0, longest)
            count.add()
            moments.append(clock.now)
            assert sum(clock.now - moment < 3540 for moment in moments) <= count.total()
            assert count.total() <= sum(clock.now - moment <= 3600 for moment in moments)
        clock.now += 3601
        assert count.total() == 0
