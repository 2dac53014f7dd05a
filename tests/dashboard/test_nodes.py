"""The other nodes in a real browser: read only, with links to their own pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.echo import EchoService
from tests.support.node import NodeProcess
from tests.support.ports import free_port

pytestmark = pytest.mark.xdist_group("chromium pages")

TOKEN: Final = "anna-0123456789abcdef"


@pytest.fixture
def listing(node: NodeProcess, echo: EchoService, tmp_path: Path) -> Iterator[NodeProcess]:
    """A node with a token that lists another, and one that does not answer."""
    config: dict[str, Any] = {
        "containers": [{"id": "echo", "url": echo.url}],
        "server": {"tokens": {"anna": {"token": TOKEN, "scope": "operator"}}},
        "discovery": {"nodes": [node.url, f"http://127.0.0.1:{free_port()}"]},
    }
    with NodeProcess(config, tmp_path) as found:
        yield found


def test_other_nodes_are_shown_with_links_to_their_pages(
    chromium: Chromium, listing: NodeProcess, node: NodeProcess
) -> None:
    with chromium.page(listing.url) as page:
        page.open(f"#token={TOKEN}")
        page.wait("text=Signed in as anna")
        page.click("nav >> text=Nodes")  # once others are known
        page.wait("h1 >> text=Nodes")
        well = page.page.locator("section.card", has_text=node.url)
        well.locator(".chip.ok >> text=Working").wait_for()
        assert "3 containers" in well.inner_text()
        assert " pending" in well.inner_text()
        page.wait(".card >> .chip.bad >> text=Not reached")
        page.page.set_viewport_size({"width": 360, "height": 700})  # one below the other
        first, second = page.page.locator("section.card").all()
        upper, lower = first.bounding_box(), second.bounding_box()
        assert upper
        assert lower
        assert upper["y"] + upper["height"] <= lower["y"]
        link = well.locator("a")
        assert link.get_attribute("href") == node.url
        assert set((link.get_attribute("rel") or "").split()) == {"noopener", "noreferrer"}
        with page.context.expect_page() as opened:
            link.click()
        other = opened.value
        other.wait_for_load_state()
        assert other.url == f"{node.url}/"
        assert other.evaluate("[document.referrer, opener, localStorage.length]") == ["", None, 0]
        assert not [each for each in page.requests if node.url in each]


def test_an_address_that_is_no_page_is_no_link(page: Watched) -> None:
    other: dict[str, Any] = {
        "name": "<b>x</b>\u202e",
        "version": "1",
        "health": "healthy",
        "containers": [],
        "pending": None,
        "seen_at": None,
        "reason": "<img src=x onerror=alert(1)>",
        "protected": True,
    }
    urls = ["javascript:alert(1)", "data:text/html,x", "//elsewhere", "", "HTTP://x", "file:///x"]
    page.answer("**/api/nodes", json={"items": [{**other, "url": url} for url in urls]})
    page.open("#/nodes")
    page.wait(".card >> text=<b>x</b>\\u202e")
    assert page.page.locator("section.card").count() == len(urls)
    assert page.page.locator("main a, main img, main b").count() == 0


def test_where_there_are_none_the_page_says_how_to_find_them(page: Watched) -> None:
    page.open()
    page.wait("h1 >> text=Working")
    page.until("performance.getEntriesByName(`${location.origin}/api/nodes`).length > 0")
    page.page.wait_for_timeout(200)
    assert page.page.locator("nav >> text=Nodes").count() == 0
    page.go("#/nodes")
    page.wait("text=No other node was found.")


def test_they_are_read_every_30_seconds_while_the_page_is_open(page: Watched) -> None:
    page.page.clock.install()
    page.open("#/nodes")
    page.wait("h1 >> text=Nodes")

    def asked() -> int:
        return sum(each.endswith("/api/nodes") for each in page.requests)

    page.page.clock.fast_forward(4_000)  # with what is asked once after the page was loaded
    page.page.wait_for_timeout(300)
    before = asked()
    page.page.clock.fast_forward(30_000)
    page.page.wait_for_timeout(300)
    assert asked() == before + 1
    page.go("#/jobs")
    page.wait("h1 >> text=Jobs")
    last = asked()
    page.page.clock.fast_forward(60_000)
    page.page.wait_for_timeout(200)
    assert asked() == last
