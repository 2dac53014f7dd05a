"""Containers that the node manages, in a real browser and with real Podman."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess
from tests.support.operating import managed
from tests.support.podman import IsolatedPodman

LOG: Final = "document.querySelector('.log')"
TOKEN: Final = "anna-0123456789abcdef"
MARKUP: Final = "<img src=x onerror=alert(1)>\x1b[31m \u202ered"


def last_line(page: Watched) -> str:
    return str(page.page.locator(".log > div").last.inner_text())


def test_a_container_its_log_and_a_restart(
    chromium: Chromium, podman: IsolatedPodman, tmp_path: Path
) -> None:
    config: dict[str, Any] = managed(podman, {"id": "echo", "image": podman.echo_image()})
    config["server"] = {"tokens": {"anna": {"token": TOKEN, "scope": "operator"}}}
    with NodeProcess(config, tmp_path) as node, chromium.page(node.url) as page:
        api = Api(node.port, headers={"authorization": f"Bearer {TOKEN}"})
        page.open(f"#token={TOKEN}")
        page.go("#/containers")
        page.wait("tr .chip.ok", 40_000)
        page.click("tr >> text=echo")
        page.wait(".side .log")
        page.wait(".side >> text=Image")

        api.finished([api.submit("echo", {"print": f"~{MARKUP}"})])
        page.wait(".log >> text=onerror")
        assert page.page.locator(".log img").count() == 0
        assert "\\u202ered" in page.text(".log")  # what reorders text is visible
        assert "[31m" not in page.text(".log")  # what gives orders to a terminal is not
        page.page.get_by_label("Find in the log").fill("onerror")
        page.wait(".log mark")

        lines = [api.submit("echo", {"print": f"~line {number}"}) for number in range(120)]
        api.finished(lines)
        page.until("document.querySelector('.log').textContent.includes('line 119')")
        page.until(f"({LOG}).scrollHeight - ({LOG}).scrollTop - ({LOG}).clientHeight < 40")
        page.page.evaluate("document.querySelector('.log').scrollTop = 100")
        page.page.wait_for_timeout(100)
        api.finished([api.submit("echo", {"print": "~the newest"})])
        page.wait(".newer >> text=/new line/")
        assert page.page.evaluate("document.querySelector('.log').scrollTop") == 100
        page.click(".newer")
        assert page.page.evaluate("document.querySelector('.log').scrollTop") > 100

        page.click(".side >> text=Restart")
        page.wait("dialog >> text=Restart echo?")
        assert page.page.evaluate("document.activeElement.innerText") == "Do not"
        page.page.keyboard.press("Escape")
        assert api.get("/api/containers").json["items"][0]["restarts"] == 0
        page.click(".side >> text=Restart")
        page.click("dialog >> text=/^Restart$/")
        page.wait(".toast >> text=echo is starting")
        page.wait("tr .chip.ok", 40_000)
        page.until(
            "[...document.querySelectorAll('.side dl div')].some((e) =>"
            " /^Restarts\\s+1/.test(e.innerText))",
            40,
        )
        api.finished([api.submit("echo", {"print": "~after the restart"})])
        page.wait(".log >> text=after the restart", 20_000)  # the log goes on
