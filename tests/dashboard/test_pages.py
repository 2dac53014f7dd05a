"""The pages of the dashboard in a real browser: their states, sizes and keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium pages")

PAGES = ("#/", "#/jobs", "#/try", "#/containers", "#/containers/echo", "#/nodes", "#/settings")
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
ERRORS = ("Failed to load resource",)  # the console says that a request failed


@pytest.fixture
def jobs(node: NodeProcess) -> list[str]:
    """A finished, a failed and a chained job of this machine."""
    api = Api(node.port)
    found = [api.submit(chain, {"x": 1}) for chain in ("echo", "broken", ["echo", "echo"])]
    api.finished(found)
    return found


def test_the_overview_says_whether_all_is_well(page: Watched) -> None:
    page.open()
    page.wait("h1 >> text=Working normally")
    page.wait(".pagehead .chip >> text=Live")
    page.wait("text=Taking jobs")
    for name in ("Running", "Done, last hour", "Typical time", "Disk free", "Memory used"):
        page.wait(f".tile >> text={name}")
    assert page.page.title().endswith("· Working normally")
    assert page.page.locator("a.row >> text=echo").count() == 1
    assert (
        page.page.evaluate("document.querySelector('link[rel=icon]').href")[:14] == "data:image/svg"
    )


def test_what_needs_a_person_stands_first_and_is_counted(page: Watched, node: NodeProcess) -> None:
    overview: dict[str, Any] = Api(node.port).get("/api/overview").json
    overview["attention"] = [
        {"id": "x", "level": "problem", "title": "It is broken", "text": "Why", "fix": "do this"}
    ]
    page.answer("**/api/overview", json=overview)
    page.page.route("**/api/events*", lambda route: None)  # which would say what is true
    page.open()
    page.wait("h1 >> text=Working, but 1 thing needs you")
    page.wait(".attention >> text=Fix: do this")
    assert page.page.title().endswith("· 1 to fix")
    overview["intake"] = {"open": False, "reason": "The disk is full"}
    page.open("?again#/")
    page.wait("h1 >> text=Not taking jobs: The disk is full")


def test_the_chart_has_its_numbers_as_text(page: Watched, jobs: list[str]) -> None:
    page.open()
    page.wait("svg path.done")
    label = page.page.locator(".plot").first.get_attribute("aria-label") or ""
    assert re.search(r"[1-9]\d* jobs? done, [1-9]\d* failed", label)
    page.click("text=Show as table")
    page.wait("table.small td")


def test_jobs_are_listed_filtered_and_opened(page: Watched, jobs: list[str]) -> None:
    page.open("#/jobs")
    page.wait(f'tr[data-key="{jobs[0]}"]')
    page.click("nav >> text=Overview")
    page.wait("text=Last failures")
    page.click("text=All failed jobs")
    page.until(f"!document.querySelector('tr[data-key=\"{jobs[0]}\"]')")
    page.wait(f'tr[data-key="{jobs[1]}"] .chip.bad')
    page.page.locator("[placeholder='Find an id']").fill("00000000")
    page.wait("text=No job matches")
    page.click("text=Clear the filter")
    page.wait(f'tr[data-key="{jobs[0]}"]')
    page.page.get_by_label("Container", exact=True).select_option("broken")
    page.until(f"!document.querySelector('tr[data-key=\"{jobs[0]}\"]')")
    page.click(f'tr[data-key="{jobs[1]}"] a')
    page.wait(".side >> text=boom")
    assert page.page.url.endswith(f"#/jobs/{jobs[1]}?container=broken")
    page.page.go_back()
    page.page.locator(".side").wait_for(state="hidden")


def test_new_jobs_do_not_move_the_list_under_a_reader(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    api.finished([api.submit("echo") for _ in range(60)])
    page.page.set_viewport_size({"width": 1280, "height": 500})
    page.open("#/jobs")
    page.wait("tbody tr")
    page.page.evaluate("scrollTo(0, 900)")
    where = "(r => [r.length, r[30].getBoundingClientRect().top])(document.querySelectorAll('tr'))"
    before = page.page.evaluate(where)
    fresh = api.submit("echo")
    page.until("/1 new job/.test(document.body.innerText)")
    assert page.page.evaluate(where) == before
    api.finished([fresh])
    page.page.wait_for_timeout(700)  # the event of its end would redraw a list that is at its top
    page.page.evaluate("scrollTo(0, 0)")
    page.page.get_by_text("1 new job").click()
    page.wait(f'tr[data-key="{fresh}"]')


def test_containers_say_how_they_are(page: Watched, node: NodeProcess) -> None:
    page.open("#/containers")
    page.wait("tr >> text=echo")
    page.click("tr >> text=broken")
    page.wait(".side >> text=is not managed here")
    page.click(".side >> text=Try it")
    page.wait("h1 >> text=Try it")
    assert page.page.get_by_label("Container of step 1").input_value() == "broken"


def test_settings_of_this_browser_are_kept(page: Watched) -> None:
    page.open("#/settings")
    page.wait("text=Theme")
    page.page.get_by_label("Theme").select_option("dark")
    dark = page.page.evaluate("getComputedStyle(document.body).color")
    page.page.reload()
    page.wait("text=Theme")
    assert page.page.evaluate("getComputedStyle(document.body).color") == dark
    page.page.get_by_label("Theme").select_option("light")
    assert page.page.evaluate("getComputedStyle(document.body).color") != dark


# What cannot be pressed with a thumb: its middle, 21 px to each side, is not all its own. In texts
# (of logs and JSON) targets are as high as a line, as WCAG 2.2 permits (2.5.8).
SMALL = """() => [...document.querySelectorAll('a, button, input, select, summary, textarea')]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }))
  .filter((one) => !one.closest('.quiet, .skip, .json'))
  .filter((one) => {
    const target = one.closest('label, tr, .row') || one
    target.scrollIntoView({ block: 'center' })
    const box = target.getBoundingClientRect()
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]
    return [[0, -21], [0, 21], [-21, 0], [21, 0]].some(([right, down]) => {
      const hit = document.elementFromPoint(x + right, y + down)
      return hit?.closest('label, tr, .row') !== target && !target.contains(hit)
    })
  }).map((one) => `${one.tagName}.${one.className} ${one.innerText || one.ariaLabel}`)"""


def test_everything_can_be_pressed_with_a_thumb(
    chromium: Chromium, node: NodeProcess, jobs: list[str]
) -> None:
    size = {"width": 360, "height": 780}
    with chromium.page(node.url, viewport=size, has_touch=True) as page:
        page.open()
        tabs = [f"#/settings?tab={name}" for name in ("access", "browser", "about")]
        for address in (*PAGES, *tabs, f"#/jobs/{jobs[1]}", f"#/jobs/{jobs[2]}"):
            page.go(address)
            page.wait("h1 >> visible=true" if "jobs/" not in address else ".side >> text=Course")
            page.page.wait_for_timeout(200)
            assert page.page.evaluate(SMALL) == [], address


def test_no_page_scrolls_sideways(page: Watched, jobs: list[str]) -> None:
    sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    page.open()
    for address in (*PAGES, f"#/jobs/{jobs[1]}", f"#/jobs/{jobs[2]}"):
        page.go(address)
        page.page.wait_for_timeout(200)
        for width in (320, 360, 640, 861, 1280):  # 640: 1280 at a zoom of 200 %
            page.page.set_viewport_size({"width": width, "height": 700})
            scrolled, shown = page.page.evaluate(sizes)
            assert scrolled == shown, (address, width)


def test_a_part_that_cannot_be_loaded_says_why_and_is_loaded_again(
    chromium: Chromium, node: NodeProcess
) -> None:
    with chromium.page(node.url, ERRORS) as page:
        refusal = {"error": "The <b>disk</b> is full"}
        page.answer("**/api/history*", status=503, json=refusal)
        page.answer("**/api/containers", status=503, json=refusal)
        for address, what in (("#/jobs", "the jobs"), ("#/containers", "the containers")):
            page.open(address)
            page.wait(f"text=Could not load {what}: The <b>disk</b> is full")
        page.page.unroute("**/api/containers")
        page.click("text=Try again")
        page.wait("tr >> text=echo")


def test_a_slow_part_shows_that_it_is_loaded(page: Watched) -> None:
    held: list[Route] = []
    page.page.route("**/api/history*", lambda route: held.append(route))
    page.open("#/jobs")
    page.wait("[aria-label='Loading the jobs']")
    held[0].continue_()
    page.page.locator("[aria-label='Loading the jobs']").wait_for(state="hidden")


def test_a_job_that_is_not_there(page: Watched) -> None:
    page.open("#/jobs/01a21b75-4298-4000-bdd5-09a403a99a68")
    page.wait("text=This job is not here")


def test_an_unknown_address_leads_to_the_overview(page: Watched) -> None:
    page.open("#/nothing/%E0%A4%A")
    page.wait("h1 >> text=Working")
    page.go("#/jobs/%E0%A4%A")
    page.wait("h1 >> text=Jobs")


def test_every_page_is_reached_with_keys(page: Watched, jobs: list[str]) -> None:
    page.open()
    page.wait("h1 >> text=Working")
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.className") == "skip"
    keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "main"
    for key, title in (("j", "Jobs"), ("t", "Try it"), ("c", "Containers"), ("s", "Settings")):
        page.page.locator("h1").first.evaluate("e => e.focus()")
        keyboard.press("g")
        keyboard.press(key)
        page.wait(f"h1 >> text={title}")
        assert page.page.evaluate("document.activeElement.tagName") == "H1"
    keyboard.press("g")
    keyboard.press("j")
    page.wait("tbody tr")
    keyboard.press("j")
    keyboard.press("j")
    keyboard.press("k")
    keyboard.press("Enter")
    page.wait(".side >> text=Course")
    assert page.page.evaluate("document.activeElement.tagName") == "H2"
    keyboard.press("Escape")
    page.page.locator(".side").wait_for(state="hidden")
    assert page.page.evaluate("document.activeElement.className") == "rowlink"
    keyboard.press("/")
    assert page.page.evaluate("document.activeElement.placeholder") == "Find an id"
    page.page.evaluate("document.activeElement.blur()")
    keyboard.press("?")
    page.wait("dialog >> text=Next and previous row")
    keyboard.press("Escape")
    page.page.locator("dialog").wait_for(state="detached")


def test_everything_can_be_reached_by_tab_and_has_a_name(page: Watched, jobs: list[str]) -> None:
    page.open(f"#/jobs/{jobs[1]}")
    page.wait(".side >> text=Course")
    page.page.evaluate("document.activeElement.blur()")
    page.page.locator(".skip").focus()
    seen: list[str] = []
    for _ in range(80):
        page.page.keyboard.press("Tab")
        name = page.page.evaluate(
            "(e => e === document.body ? '' : e.getAttribute('aria-label') || e.innerText ||"
            " e.placeholder || e.labels?.[0]?.innerText || '?' + e.outerHTML.slice(0, 90))"
            "(document.activeElement)"
        )
        if not name:
            break
        seen.append(name)
    assert not [name for name in seen if name.startswith("?")]
    for wanted in ("Overview", "Find an id", "Run again", "Copy as curl", "Close"):
        assert wanted in seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(
    chromium: Chromium, node: NodeProcess, jobs: list[str], scheme: str
) -> None:
    """The contrast of every text that is shown is at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""
    with chromium.page(node.url, color_scheme=scheme) as page:
        page.open()
        for address in (*PAGES, f"#/jobs/{jobs[1]}"):
            page.go(address)
            page.page.wait_for_timeout(250)
            low = page.page.evaluate(CONTRAST)
            assert low == [], address


def test_forced_colours_leave_shapes_and_borders(
    chromium: Chromium, node: NodeProcess, jobs: list[str]
) -> None:
    """What the colour of a background says otherwise, a border says there."""
    border = "e => getComputedStyle(e).borderTopStyle + getComputedStyle(e).borderTopWidth"
    with chromium.page(node.url, forced_colors="active") as page:
        page.open()
        page.wait("svg path.done")
        for selector in ("nav [aria-current]", ".chip", ".meter"):
            assert page.page.locator(selector).first.evaluate(border) == "solid1px", selector
        drawn = "e => [getComputedStyle(e).fill, getComputedStyle(e.ownerSVGElement).color]"
        fill, text = page.page.locator("path.done").first.evaluate(drawn)
        assert fill != text
        page.go(f"#/jobs/{jobs[1]}")
        page.wait(".side >> text=boom")
        assert page.page.locator("tr[aria-selected]").evaluate(border) != "none0px"


def test_a_wrong_answer_of_a_proxy_is_shown(chromium: Chromium, node: NodeProcess) -> None:
    with chromium.page(node.url, ERRORS) as page:
        page.answer("**/api/history*", status=502, body="<html>Bad gateway</html>")
        page.open("#/jobs")
        page.wait("text=Could not load the jobs: HTTP 502")


def test_a_page_of_a_proxy_below_a_path_finds_its_files(page: Watched) -> None:
    """All addresses are relative to that of the page."""
    page.open()
    page.wait("h1 >> text=Working")
    assert {each.split("/")[3] for each in page.requests} == {"", "ui", "api"}
    assert json.dumps(page.requests).count("/api/overview") == 1
