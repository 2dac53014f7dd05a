"""The settings of a node, its tokens, and a reload, as an operator sees them in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium try")

TOKENS: Final = {
    "anna": {"token": "anna-0123456789abcdef", "scope": "operator"},
    "guest": {"token": "guest-0123456789abcdef", "scope": "read"},
}


@pytest.fixture
def guarded(echo: EchoService, tmp_path: Path) -> Iterator[NodeProcess]:
    config = {"containers": [{"id": "echo", "url": echo.url}], "server": {"tokens": TOKENS}}
    with NodeProcess(config, tmp_path) as node:
        yield node


def sign_in(page: Watched, name: str) -> None:
    page.open(f"#token={TOKENS[name]['token']}")
    page.wait(f"text=Signed in as {name}")


def test_an_operator_sees_what_is_in_force_and_reloads(
    chromium: Chromium, guarded: NodeProcess
) -> None:
    with chromium.page(guarded.url) as page:
        sign_in(page, "anna")
        page.click("nav >> text=Settings")
        page.wait(".row >> text=jobs.max_pending")
        assert "0123456789abcdef" not in page.text("main")
        page.page.get_by_label("Find a key").fill("max_pending")
        page.page.locator("text=server.port").wait_for(state="hidden")
        page.click(".segments >> text=Access")
        page.wait(".row >> text=guest")
        page.wait("text=Anybody in the same Wi-Fi can read the token")
        guarded.config["jobs"] = {"max_pending": 77}
        guarded.config_path.write_text(json.dumps(guarded.config))
        page.click("text=Reload configuration")
        page.wait("text=In force now: jobs.max_pending")
        page.click(".segments >> text=Values")
        page.page.get_by_label("Find a key").fill("max_pending")
        page.wait(".row >> text=77")
        guarded.config_path.write_text('{"jobs": {"max_pending": "many"}}')
        page.click("text=Reload configuration")
        page.wait("text=Not reloaded: ")


def test_a_guest_may_look_and_is_told_what_is_missing(
    chromium: Chromium, guarded: NodeProcess
) -> None:
    with chromium.page(guarded.url) as page:
        sign_in(page, "guest")
        page.click(".viewing >> text=Viewing only")
        page.wait(".viewing >> text=Your token guest may look")
        page.click("nav >> text=Try it")
        page.wait("text=Jobs need a token with the scope submit")
        assert page.page.locator("button >> text=Run").count() == 0
        page.click("nav >> text=Settings")
        page.wait("text=Theme")
        assert page.page.locator("text=Reload configuration").count() == 0
        for tab in ("values", "access", "no-such"):  # by an address, such as one that was sent
            page.go(f"#/settings?tab={tab}")
            page.wait("[aria-current=true] >> text=This browser")
            page.wait("text=Theme")


def test_there_is_no_label_without_a_value(chromium: Chromium, guarded: NodeProcess) -> None:
    with chromium.page(guarded.url) as page:
        sign_in(page, "anna")
        page.go("#/settings?tab=access")
        page.wait("h2 >> text=Connection")
        assert page.page.locator("dt").count() == 0  # it has no certificate, and no address


@pytest.mark.parametrize(("locale", "usual"), [("en-US", True), ("de-DE", False)])
def test_times_have_12_or_24_hours(
    chromium: Chromium, node: NodeProcess, locale: str, usual: bool
) -> None:
    api = Api(node.port)
    api.finished([api.submit("echo", {})])
    with chromium.page(node.url, locale=locale) as page:

        def shown() -> bool:
            """Whether the times of the list and of the chart have 12 hours."""
            page.go("#/jobs")
            page.wait("td.meta >> text=/^[0-9]{1,2}:[0-9]{2}:[0-9]{2}( [ap]m)?$/")
            list_ = "m" in page.text("tbody tr td:nth-child(3)")
            page.go("#/")
            page.wait(".plot text")
            texts = page.page.locator(".plot text").all_text_contents()
            clocks = [text for text in texts if ":" in text]
            assert clocks
            assert {text.endswith("m") for text in clocks} == {list_}
            return list_

        page.open("#/")
        assert shown() is usual
        for option, twelve in (("h23", False), ("h12", True), ("", usual)):
            page.go("#/settings?tab=browser")
            page.page.get_by_label("Times").select_option(option)
            assert shown() is twelve
            page.page.reload()  # it is kept in this browser
            assert shown() is twelve
