"""Tests of a group are run by one worker: what they share is made once."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.xdist_group("groups")


@pytest.fixture(scope="module")
def made() -> list[int]:
    return []


@pytest.mark.parametrize("number", range(6))
def test_one_worker_runs_a_group_in_its_order(
    made: list[int], number: int, request: pytest.FixtureRequest
) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@groups"), "pytest-xdist does not use the groups"
        assert made == list(range(number))
    made.append(number)
