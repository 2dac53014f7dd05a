"""A press counts, whatever an update changes while it is held; in a real browser."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium try")

LIVE: Final = ".pagehead .state >> text=Live"


def managed_container(page: Watched, node: NodeProcess) -> dict[str, Any]:
    """The page of a container, as an operator sees one that the node manages."""
    api = Api(node.port)
    overview = api.get("/api/overview").json
    overview["me"]["scope"] = "operator"
    overview["containers"][0]["state"] = "starting"  # it is read at another time than the list
    item: dict[str, Any] = api.get("/api/containers").json["items"][0]
    item |= {"managed": True, "state": "ready", "image": "registry.example/x:1"}
    page.answer("**/api/overview", json=overview)
    page.answer("**/api/containers/*/logs*", status=404, json={"error": "no log"})
    page.answer("**/api/containers", json={"items": [item]})
    page.open(f"#/containers/{item['id']}")
    page.wait(".side button >> text=/^Restart$/")
    return item


def hold(page: Watched, selector: str) -> None:
    """Move to the middle of something, and press there."""
    box = page.page.locator(selector).first.bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.page.mouse.down()


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_an_update_between_press_and_release(
    chromium: Chromium, node: NodeProcess, how: str
) -> None:
    with chromium.page(node.url, ("Failed to load",)) as page:
        item = managed_container(page, node)
        button = ".side button >> text=/^Restart$/"
        if how == "mouse":
            hold(page, button)
        else:
            page.page.locator(button).focus()
            page.page.keyboard.down(" ")
        # Each part of the page is other than before: the button, what is above it, and the row.
        changed = {"id": item["id"], "new_digest": "sha256:new", "reason": "why " * 60}
        page.event("machine", {"containers": [changed]})
        page.page.wait_for_timeout(200)
        if how == "mouse":
            page.page.mouse.up()
        else:
            page.page.keyboard.up(" ")
        page.wait(f"dialog >> text=Restart {item['id']}?")
        page.page.keyboard.press("Escape")
        page.wait(".side button >> text=Restart with the new image")  # drawn after the press


def test_a_row_that_moves_under_the_press(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    [old] = [api.submit("echo", {"old": True})]
    api.finished([old])
    page.open("#/jobs")
    page.wait(LIVE)
    page.wait(f'[data-key="{old}"]')
    hold(page, f'[data-key="{old}"]')
    new = [api.submit("echo", {"new": n}) for n in range(3)]
    api.finished(new)
    page.page.wait_for_timeout(1000)
    assert page.page.locator(f'[data-key="{new[-1]}"]').count() == 0  # not while it is held
    page.page.mouse.up()
    page.until(f"location.hash.includes('{old}')")
    page.wait("button >> text=3 new jobs")  # the reader has left the top of the list


def test_a_release_that_is_not_seen_ends_the_press(page: Watched, node: NodeProcess) -> None:
    page.open("#/jobs")
    page.wait(LIVE)
    page.page.evaluate("dispatchEvent(new PointerEvent('pointerdown'))")
    job = Api(node.port).submit("echo", {})
    page.wait(f'[data-key="{job}"]', 10_000)


def test_the_keyboard_stays_at_a_button_that_changes(chromium: Chromium, node: NodeProcess) -> None:
    with chromium.page(node.url, ("Failed to load",)) as page:
        item = managed_container(page, node)
        page.page.locator(".side button >> text=/^Restart$/").focus()
        page.event("machine", {"containers": [{"id": item["id"], "new_digest": "sha256:new"}]})
        page.wait(".side button >> text=Restart with the new image")
        focused = "document.activeElement.innerText"
        assert page.page.evaluate(focused) == "Restart with the new image"
        page.page.keyboard.press("Enter")
        page.wait("dialog >> text=Restart")
        page.event("machine", {"containers": [{"id": item["id"], "reason": "an update"}]})
        page.page.keyboard.press("Escape")
        page.until("!document.querySelector('dialog')")
        assert page.page.evaluate(focused) == "Restart with the new image"
