"""The settings by which the node stops idle containers."""

from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.model import Config, Container
from infernet_edge.config.values.sleep import may_sleep, uses_sleep


def problems(document: dict[str, Any]) -> list[str]:
    try:
        build(document, "test", {})
    except ConfigurationError as error:
        return [str(each) for each in error.problems]
    return []


def of(**settings: Any) -> dict[str, Any]:
    return {"containers": [{"id": "llm", "image": "localhost/llm:1", **settings}]}


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (of(url="http://h:1", idle_timeout=60), "containers[0].idle_timeout: found 60, "),
        (of(url="http://h:1", start="on_demand"), 'containers[0].start: found "on_demand", '),
        (of(url="http://h:1", exclusive="gpu0"), 'containers[0].exclusive: found "gpu0", '),
        (of(idle_timeout=0), "containers[0].idle_timeout: "),
        (of(start="never"), "containers[0].start: "),
        (of(exclusive="a b"), "containers[0].exclusive: "),
        ({"max_running": 0}, "max_running: "),
    ],
)
def test_wrong_ones_are_named_with_their_place(document: dict[str, Any], place: str) -> None:
    (problem,) = problems(document)
    assert problem.startswith(place)
    if "url" in str(document):
        assert problem.endswith("nothing beside url: the node does not start and stop it")


def test_valid_ones() -> None:
    document = of(start="on_demand", idle_timeout=900, exclusive="gpu0", startup_timeout=60)
    assert problems({**document, "max_running": 2}) == []
    assert problems({**of(url="http://h:1", start="always", exclusive=""), "max_running": 1}) == []


@pytest.mark.parametrize(
    "settings", [{"start": "on_demand"}, {"idle_timeout": 1.0}, {"exclusive": "gpu0"}]
)
def test_which_containers_may_sleep(settings: dict[str, Any]) -> None:
    plain, one = Container(id="a", image="x"), Container(id="b", image="x", **settings)
    config = Config(containers=[plain, one])
    assert (may_sleep(plain, config), may_sleep(one, config)) == (False, True)
    assert uses_sleep(config)
    assert not uses_sleep(Config(containers=[plain]))
    assert not uses_sleep(Config(containers=[plain, one], manage_containers=False))


def test_a_limit_for_all_counts_for_all_that_the_node_runs() -> None:
    plain, elsewhere = Container(id="a", image="x"), Container(id="b", url="http://h:1")
    config = Config(containers=[plain, elsewhere], max_running=1)
    assert (may_sleep(plain, config), may_sleep(elsewhere, config)) == (True, False)


def test_they_are_named_where_the_node_manages_no_containers() -> None:
    document = of(idle_timeout=60, start="on_demand") | {"max_running": 1}
    assert not build(document, "test", {})[1]
    warnings = build(document | {"manage_containers": False}, "test", {})[1]
    assert [each.partition(" is ignored")[0] for each in warnings] == [
        "containers[0].start",
        "containers[0].idle_timeout",
        "max_running",
    ]
    assert not build(of() | {"manage_containers": False}, "test", {})[1]
