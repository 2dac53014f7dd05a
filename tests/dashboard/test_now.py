"""The page never shows as present what is past: pauses, overload, slow answers, other tabs."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Route

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium now")

PHONE = "phone-0123456789abcdef"
ERRORS = ("Failed to load resource", "net::ERR")
CHIP = ".pagehead .chip"
SHOWN = "[...document.querySelectorAll('tbody tr')].map(row => row.dataset.key)"
HIDE = """is => {
  Object.defineProperty(document, 'hidden', { value: is, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}"""


def lower(page: Watched, file: str, name: str, value: int) -> None:
    """Let a constant of a file of the page have another value."""

    def change(route: Route) -> None:
        reply = route.fetch()
        text, count = re.subn(rf"const {name} = \d+", f"const {name} = {value}", reply.text())
        assert count == 1
        route.fulfill(response=reply, body=text)

    page.page.route(f"**/{file}", change)


def asked(page: Watched) -> int:
    """How many requests for data the page has sent."""
    return sum("/api/" in each for each in page.requests)


def work(api: Api, jobs: int) -> None:
    """Let the node do so many jobs at once."""
    for _ in range(jobs // 500):
        assert (
            api.post([{"containers": ["echo"], "data": {}}] * 500, "/api/jobs/batch").status == 200
        )
    deadline = time.monotonic() + 60
    while api.get("/api/overview").json["jobs"]["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_hidden_page_says_that_it_is_paused(chromium: Chromium, node: NodeProcess) -> None:
    with chromium.page(node.url, ERRORS) as page:
        lower(page, "live.js", "HIDDEN", 200)
        page.open()
        page.wait(f"{CHIP} >> text=Live")
        page.page.evaluate(HIDE, True)
        page.wait("h1 >> text=Paused. Last seen")
        assert "Paused" in page.page.title()
        assert page.page.evaluate("document.body.classList.contains('stale')")
        page.page.evaluate(HIDE, False)
        page.wait("h1 >> text=Working normally")
        page.wait(f"{CHIP} >> text=Live")


def asked_api(page: Watched) -> int:
    """How many requests there were for data; modules are read ahead meanwhile."""
    return sum("/api/" in each for each in page.requests)


def test_a_page_that_comes_back_while_the_node_is_away(
    chromium: Chromium, node: NodeProcess
) -> None:
    with chromium.page(node.url, ERRORS) as page:
        lower(page, "live.js", "HIDDEN", 200)
        page.open()
        page.wait(f"{CHIP} >> text=Live")
        page.page.evaluate(HIDE, True)
        page.wait(f"{CHIP} >> text=Paused")
        page.page.route("**/api/**", lambda route: route.abort())
        before = asked_api(page)
        page.page.evaluate(HIDE, False)
        page.wait("h1 >> text=Cannot reach the node. Last seen")
        page.page.wait_for_timeout(1500)
        assert asked_api(page) - before <= 4  # it waits between two attempts


def test_a_list_shows_the_end_of_jobs_whose_events_were_left_out(
    page: Watched, node: NodeProcess
) -> None:
    api = Api(node.port)
    page.open("#/jobs")
    page.wait(f"{CHIP} >> text=Live")
    work(api, 1000)
    newest = [job["id"] for job in api.get("/api/history?limit=50").json["items"]]
    page.page.wait_for_function(f"(newest) => String({SHOWN}) === String(newest)", arg=newest)
    page.page.locator(".chip.run, .chip.wait").first.wait_for(state="detached")


def test_a_job_that_ends_while_many_others_do(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    job = api.submit("slow", {"sleep": 2})
    page.open(f"#/jobs/{job}")
    page.wait(".side .chip.run")
    while job in api.running():
        work(api, 500)
    page.wait(".side .chip.ok")


def test_a_job_that_ends_while_the_list_is_on_its_way(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    page.open()
    page.wait(f"{CHIP} >> text=Live")
    job = api.submit("slow", {"sleep": 1})
    taken = []

    def hold(route: Route) -> None:
        taken.append(route.fetch())  # with the job as it runs
        page.page.wait_for_timeout(1500)
        route.fulfill(response=taken[-1])

    page.page.route("**/api/history*", hold)
    page.go("#/jobs")
    page.wait(f'tr[data-key="{job}"] .chip.ok')
    assert f'"{job}"' in taken[0].text()
    assert len(taken) == 1


def test_the_headline_says_when_no_jobs_are_taken(
    chromium: Chromium, echo: EchoService, tmp_path: Path
) -> None:
    config = {
        "containers": [{"id": "slow", "url": f"{echo.url}/slow"}],
        "jobs": {"max_pending": 2},
    }
    with NodeProcess(config, tmp_path) as node, chromium.page(node.url) as page:
        page.open()
        page.wait("h1 >> text=Working normally")
        page.wait(f"{CHIP} >> text=Live")
        for _ in range(2):
            Api(node.port).submit("slow", {"sleep": 4})
        page.wait("h1 >> text=Not taking jobs: Too many pending jobs (jobs.max_pending)")
        page.wait("h1 >> text=Working normally")


def test_many_events_stay_within_the_rate_limit(
    chromium: Chromium, echo: EchoService, tmp_path: Path
) -> None:
    """The usual limit is 60 requests a minute; containers that come and go cause many events."""
    urls = [f"{echo.url}/{number}" for number in range(3)]
    containers = [{"id": f"c{number}", "url": url} for number, url in enumerate(urls)]
    with (
        NodeProcess({"containers": containers}, tmp_path) as node,
        chromium.page(node.url) as page,
    ):
        page.open("#/containers")
        page.wait(f"{CHIP} >> text=Live")
        before, began = asked(page), time.monotonic()
        page.page.evaluate(
            """async () => {
              const { take } = await import(document.querySelector('script[type=module]').src
                .replace('app.js', 'live.js'))
              for (let n = 0; n < 24; n++) {
                take('containers', { changed: [] })
                await new Promise((done) => setTimeout(done, 250))
              }
            }"""
        )
        # The overview and the containers, each at most every 3 seconds.
        assert asked(page) - before <= 2 * (1 + (time.monotonic() - began) / 3)


def test_a_slow_first_answer_leaves_no_blank_page(page: Watched) -> None:
    page.page.route("**/api/overview", lambda route: None)
    page.open()
    page.wait("h1 >> text=Connecting")


def test_what_was_known_stays_when_the_node_goes(chromium: Chromium, node: NodeProcess) -> None:
    with chromium.page(node.url, ERRORS) as page:
        lower(page, "containers.js", "SOON", 300)
        page.open("#/containers")
        page.wait("tbody tr")
        page.page.route("**/api/**", lambda route: route.abort())
        with page.page.expect_event("requestfailed"):
            page.event("containers", {"changed": []})
        page.page.wait_for_timeout(200)
        assert page.page.locator("tbody tr").count() == 3


@pytest.mark.parametrize(("state", "word"), [("waiting", "Waiting"), ("running", "Running")])
def test_jobs_that_wait_and_that_run(
    page: Watched, node: NodeProcess, state: str, word: str
) -> None:
    api = Api(node.port)
    jobs = [api.submit("slow", {"sleep": 60}) for _ in range(10)]  # of which 8 run
    page.open(f"#/jobs?state={state}")
    page.wait("tbody tr")
    words = page.page.locator("tbody .chip").all_inner_texts()
    assert set(words) == {word}
    assert len(words) == {"waiting": 2, "running": 8}[state]
    for job in jobs:
        api.request("DELETE", f"/api/jobs/{job}")
    api.finished(jobs)


def test_a_link_with_a_token_is_opened_in_a_page_of_the_node(
    chromium: Chromium, echo: EchoService, tmp_path: Path
) -> None:
    config = {
        "containers": [{"id": "echo", "url": echo.url}],
        "server": {"tokens": {"phone": PHONE}},
    }
    with NodeProcess(config, tmp_path) as node, chromium.page(node.url, ERRORS) as page:
        page.open("#token=%")  # which is no link of a node
        page.wait("dialog >> text=token")
        page.open(f"#token={PHONE}")  # changes only the fragment of the page that is open
        page.wait("text=Signed in as phone")
        assert page.page.evaluate("location.hash") == "#/"
        other = page.context.new_page()
        other.goto(f"{node.url}/#/jobs")
        other.get_by_text("Signed in as phone").wait_for()
        page.click("text=Sign out")
        other.locator("dialog").wait_for()
        assert other.get_by_text("Signed in as phone").count() == 0


def test_all_of_fifty_containers_can_be_chosen(
    chromium: Chromium, echo: EchoService, tmp_path: Path
) -> None:
    """More than an overview of 8 kB has."""
    names = [f"container-number-{number}" for number in range(50)]
    urls = [echo.url] * 49 + ["http://127.0.0.1:9"]
    containers = [{"id": name, "url": url} for name, url in zip(names, urls, strict=True)]
    with NodeProcess({"containers": containers}, tmp_path) as node:
        assert Api(node.port).get("/api/overview").json["left_out"]["containers"] > 0
        with chromium.page(node.url) as page:
            page.open(f"#/try?container={names[-1]}")
            page.wait("[aria-label='Container of step 1']")
            field = page.page.get_by_label("Container of step 1")
            assert field.input_value() == names[-1]
            assert field.locator("option").count() == 50


def test_an_input_is_there_again_after_another_page(page: Watched) -> None:
    page.open("#/try")
    page.wait("[aria-label='Container of step 1']")
    page.page.get_by_label("Input as JSON").fill('{"draft": 1}')
    page.go("#/jobs")
    page.wait("h1 >> text=Jobs")
    page.go("#/try")
    page.wait("h1 >> text=Try it")
    assert page.page.get_by_label("Input as JSON").input_value() == '{"draft": 1}'


def test_no_step_is_blamed_where_two_could_have_failed(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    job = api.post({"containers": ["echo", "broken", "broken"], "data": {}}, "/api/jobs").json["id"]
    api.finished([job])
    page.open(f"#/jobs/{job}")
    page.wait(".side .error")
    assert "Error in step" not in page.text(".side")
