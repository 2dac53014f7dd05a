"""The table of container sets."""

from __future__ import annotations

import logging

import pytest

from infernet_edge.chain.guard.container_lookup import MAX_SETS, ContainerLookup, container_hash
from infernet_edge.config.model import Container
from tests.support.subscriptions import chain_config


def containers(number: int) -> list[Container]:
    return [Container(id=f"c{position}", image="x") for position in range(number)]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "infernet_edge")
    return caplog


def test_a_known_hash() -> None:
    known = container_hash(["echo"]).hex()
    assert known.startswith("e6bc11af")
    assert known.endswith("788ec8")


def test_every_order_has_its_own_hash() -> None:
    sets = ContainerLookup(chain_config(*containers(3)))
    assert len(sets) == 3 + 6 + 6
    assert sets.lookup(container_hash(["c1"])) == ("c1",)
    assert sets.lookup(container_hash(["c0", "c1"])) == ("c0", "c1")
    assert sets.lookup(container_hash(["c1", "c0"])) == ("c1", "c0")
    assert sets.lookup(container_hash(["c2", "c0", "c1"])) == ("c2", "c0", "c1")
    assert sets.lookup(container_hash(["other"])) is None
    assert sets.lookup(bytes(32)) is None


def test_nine_containers_make_a_small_table(log: pytest.LogCaptureFixture) -> None:
    sets = ContainerLookup(chain_config(*containers(9)))
    assert len(sets) == 9 + 9 * 8 + 9 * 8 * 7
    assert sets.lookup(container_hash(["c0", "c1", "c2", "c3"])) is None
    assert [record.getMessage() for record in log.records] == ["containers.sets_loaded"]


def test_pipelines_are_known_however_long() -> None:
    config = chain_config(*containers(9), pipelines=["c0, c1,c2,c3", "c5,c5"])
    sets = ContainerLookup(config)
    assert sets.lookup(container_hash(["c0", "c1", "c2", "c3"])) == ("c0", "c1", "c2", "c3")
    assert sets.lookup(container_hash(["c5", "c5"])) == ("c5", "c5")


def test_a_pipeline_of_unknown_containers_is_left_out(log: pytest.LogCaptureFixture) -> None:
    sets = ContainerLookup(chain_config(*containers(1), pipelines=["c0,typo", ""]))
    assert len(sets) == 1
    warnings = [record for record in log.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == ["containers.pipeline_ignored"] * 2
    assert warnings[0].__dict__["fields"]["containers"] == "typo"


def test_many_containers_are_capped_and_that_is_said(log: pytest.LogCaptureFixture) -> None:
    sets = ContainerLookup(chain_config(*containers(60), pipelines=["c59,c58,c57"]))
    assert len(sets) == 60 + 60 * 59 + 1
    assert len(sets) <= MAX_SETS
    assert sets.lookup(container_hash(["c59", "c58", "c57"])) == ("c59", "c58", "c57")
    (capped,) = (record for record in log.records if record.levelno == logging.WARNING)
    assert capped.getMessage() == "containers.sets_capped"
    assert capped.__dict__["fields"]["all_up_to_length"] == 2
    assert "chain.pipelines" in capped.__dict__["fields"]["advice"]


def test_the_length_can_be_chosen() -> None:
    assert len(ContainerLookup(chain_config(*containers(4)), max_length=1)) == 4
    assert len(ContainerLookup(chain_config(*containers(4)), max_length=9)) == 4 + 12 + 24 + 24


def test_no_containers() -> None:
    assert len(ContainerLookup(chain_config())) == 0
