from __future__ import annotations

from pathlib import Path

from infernet_edge.containers.service import LAST_FAILED
from infernet_edge.doctor import containers as checked
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding
from tests.support.running import configuration, running
from tests.support.serving import Echo, serving


async def test_they_are_ready(tmp_path: Path) -> None:
    async with serving(Echo()) as url:
        document = {"containers": [{"id": "one", "url": url}, {"id": "two", "url": url}]}
        async with running(tmp_path, document) as node:
            assert await finding(checked, node.node.config) == Finding(
                "ok", "one: ready; two: ready"
            )


async def test_one_that_is_down_is_named(tmp_path: Path) -> None:
    async with running(
        tmp_path, {"containers": [{"id": "gone", "url": "http://127.0.0.1:1"}]}
    ) as node:
        found = await finding(checked, node.node.config)
        assert found.level == "problem"
        assert found.text.startswith("gone: failed: ")
        assert "http://127.0.0.1:1" in found.remedy
        assert found.command == ""
        node.parts.services["gone"].set_starting("the image is pulled")
        found = await finding(checked, node.node.config)
        assert (found.level, found.text) == ("warning", "gone: starting: the image is pulled")
        node.parts.services["gone"].set_asleep("it starts when a job needs it")
        found = await finding(checked, node.node.config)
        assert (found.level, found.text) == ("ok", "gone: asleep: it starts when a job needs it")
        node.parts.services["gone"].set_asleep(f"{LAST_FAILED}no such image")
        found = await finding(checked, node.node.config)
        assert (found.level, found.text) == ("warning", f"gone: asleep: {LAST_FAILED}no such image")


async def test_none_are_configured_or_no_node_runs(tmp_path: Path) -> None:
    assert (await finding(checked, configuration(tmp_path))).text == "none are configured"
    config = configuration(tmp_path, {"containers": [{"id": "a", "url": "http://127.0.0.1:1"}]})
    expected = Finding("unknown", "not checked: a: no node answers")
    assert await finding(checked, config) == expected


async def test_one_that_the_running_node_does_not_know(tmp_path: Path) -> None:
    async with serving(Echo()) as url, running(tmp_path) as node:
        changed = configuration(tmp_path, {"containers": [{"id": "new", "url": url}]})
        assert changed.storage_path == node.node.config.storage_path
        found = await finding(checked, changed)
    assert found.level == "warning"
    assert found.text.startswith("new: the running node does not have it")
