"""The rules of axe-core (https://github.com/dequelabs/axe-core) hold on every page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess
from tests.support.process import ROOT

pytestmark = pytest.mark.xdist_group("chromium try")

AXE: Final = ROOT / ".cache/tests/npm/node_modules/axe-core/axe.min.js"
PAGES: Final = (
    "#/",
    "#/jobs",
    "#/try",
    "#/containers",
    "#/containers/echo",
    "#/nodes",
    "#/settings",
)


@pytest.fixture(scope="module")
def rules() -> str:
    if not AXE.exists() and os.environ.get("CI") != "true":
        pytest.skip("tests/setup installs axe-core")
    return AXE.read_text()


@pytest.fixture(params=[(1280, "light"), (360, "dark")], ids=["wide", "narrow"])
def page(
    request: pytest.FixtureRequest, chromium: Chromium, node: NodeProcess
) -> Iterator[Watched]:
    width, scheme = request.param
    size = {"width": width, "height": 800}
    with chromium.page(node.url, viewport=size, color_scheme=scheme, bypass_csp=True) as page:
        yield page


def violations(page: Watched, rules: str) -> list[str]:
    page.page.evaluate(rules)
    found: list[dict[str, Any]] = page.page.evaluate("axe.run().then((found) => found.violations)")
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]


def test_no_page_breaks_a_rule(page: Watched, node: NodeProcess, rules: str) -> None:
    api = Api(node.port)
    job = api.submit(["echo", "broken"], {"a": {"b": 1}})
    api.finished([job])
    page.open()
    page.wait("h1 >> text=Working")
    for address in (*PAGES, f"#/jobs/{job}"):
        page.go(address)
        page.page.wait_for_timeout(300)
        assert violations(page, rules) == [], address


def test_a_page_that_breaks_rules_is_noticed(page: Watched, rules: str) -> None:
    page.open("#/try")
    page.wait("h1 >> text=Try it")
    page.page.evaluate("document.querySelector('textarea').removeAttribute('aria-label')")
    assert any(each.startswith("label:") for each in violations(page, rules))
