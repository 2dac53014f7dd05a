"""What must always hold is checked, also where Python drops `assert`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from infernet_edge.chain.delivery.record import check_transition
from infernet_edge.invariants import InvariantViolated, invariant
from infernet_edge.jobs.concurrency import SlotQueue
from infernet_edge.memory import MemoryBudget
from tests.support.process import ROOT

ENDS = ("delivered", "failed", "skipped")


def test_it_stays_on_without_asserts() -> None:
    program = "from infernet_edge.invariants import invariant; invariant(False, 'broken')"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "InvariantViolated: broken" in done.stderr
    invariant(True, "not raised")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("accepted", "computing"),
        ("computing", "sending"),
        ("sending", "sent"),
        ("sent", "sending"),
        *((before, end) for before in ("accepted", "sent") for end in ENDS),
    ],
)
def test_a_delivery_goes_on_to_its_next_state(before: str, after: str) -> None:
    check_transition(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("accepted", "sent"),
        ("computing", "accepted"),
        ("sending", "computing"),
        ("sent", "accepted"),
        *((end, "computing") for end in ENDS),
        ("delivered", "failed"),
    ],
)
def test_a_delivery_takes_no_other_way(before: str, after: str) -> None:
    with pytest.raises(InvariantViolated, match=f"from {before} to {after}"):
        check_transition(before, after)


def test_slots_are_never_more_than_there_are() -> None:
    queue: SlotQueue[int] = SlotQueue(1)
    with pytest.raises(InvariantViolated, match="not taken"):
        queue.next()


def test_held_bytes_are_never_negative() -> None:
    reservation = MemoryBudget(2**24, 2**20).reserve("answers")
    assert reservation.try_take(10)
    with pytest.raises(InvariantViolated, match="more bytes of answers"):
        reservation.release(11)
