"""What the parts of the node count while they work, for GET /metrics.

Counting is on the path of each job: it is one addition, without a lock and without a label that is
looked up. What can be read when the metrics are wanted is not counted here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

JOB_BOUNDS: Final = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 120.0, 300.0),
)
COMMIT_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
WRITES_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts values by their size: `counts[i]` those up to `bounds[i]`, the last one all larger.

    Only one thread may call `observe`; any thread may read.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class ChainMeasurements(NamedTuple):
    """What the chain counts; None where it is not known.

    `head_age` is in seconds, `balance` and `gas` (what final transactions have cost since the
    start) in wei. `deliveries` are by state, `rpc_requests` by the name of the server and what came
    of them.
    """

    head_block: int | None
    head_age: float | None
    balance: int | None
    gas: int
    deliveries: Mapping[str, int]
    rpc_requests: Mapping[tuple[str, str], int]
