"""What happens under a page: changes, restarts, lost connections, tokens that end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.echo import EchoService
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium live")

PHONE = "phone-0123456789abcdef"
ANNA = "anna-0123456789abcdef"
ERRORS = ("Failed to load resource", "net::ERR")
CHIP = ".pagehead .chip"


@pytest.fixture(scope="module")
def guarded(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node with tokens."""
    config = {
        "containers": [{"id": "echo", "url": echo.url}],
        "server": {"tokens": {"phone": PHONE}},
    }
    with NodeProcess(config, tmp_path_factory.mktemp("guarded")) as node:
        yield node


def give_token(page: Watched, token: str) -> None:
    page.page.get_by_label("Paste the token").fill(token)
    page.page.keyboard.press("Enter")


def asked(page: Watched, path: str = "/api/") -> int:
    """How many requests for data the page has sent."""
    return sum(path in each for each in page.requests)


def test_a_job_appears_and_ends_while_somebody_looks(page: Watched, node: NodeProcess) -> None:
    page.open("#/jobs")
    page.wait(f"{CHIP} >> text=Live")
    job = Api(node.port).submit("slow", {"sleep": 1.5})
    page.wait(f'tr[data-key="{job}"] .chip.run')
    page.wait(f'tr[data-key="{job}"] .chip.ok')
    assert asked(page, "/api/history") == 1  # the rest by events


def test_the_link_of_the_first_minute_signs_in(chromium: Chromium, guarded: NodeProcess) -> None:
    with chromium.page(guarded.url, ERRORS) as page:
        page.open(f"#token={PHONE}")
        page.wait("text=Signed in as phone (submit)")
        assert page.page.evaluate("location.hash") == "#/"
        page.open("#/jobs")  # the browser keeps it
        page.wait("text=No jobs yet")
        assert not [each for each in page.requests if PHONE in each]
        page.wait(".viewing >> text=Own jobs only")
        page.click("text=Sign out")
        page.wait("dialog >> text=This node needs a token")
        assert page.page.evaluate("localStorage.length") == 0


def test_without_a_token_one_dialog_asks_for_it(chromium: Chromium, guarded: NodeProcess) -> None:
    with chromium.page(guarded.url, ERRORS) as page:
        page.open("#/jobs")
        page.wait("dialog >> text=This node needs a token")
        page.page.keyboard.press("Escape")
        page.wait("dialog")  # it cannot be passed by
        page.page.wait_for_timeout(1500)
        assert page.page.locator("dialog").count() == 1
        assert asked(page) <= 3
        give_token(page, "wrong-0123456789abcdef")
        page.wait("dialog .why:not(:text('This node needs'))")
        give_token(page, PHONE)
        page.page.locator("dialog").wait_for(state="detached")
        page.wait("h1 >> text=Jobs")
        page.wait("text=No jobs yet")


def test_a_token_that_ends_under_the_page_keeps_the_input(
    chromium: Chromium, guarded: NodeProcess
) -> None:
    with chromium.page(guarded.url, ERRORS) as page:
        page.open(f"#token={PHONE}")
        page.wait("text=Signed in as phone")
        page.go("#/try")
        page.wait("[aria-label='Container of step 1']")
        page.page.get_by_label("Input as JSON").fill('{"kept": 1}')
        guarded.config["server"]["tokens"] = {"anna": ANNA}
        guarded.restart()
        page.wait("dialog", 40_000)
        before = asked(page)
        page.page.wait_for_timeout(1200)
        assert asked(page) - before <= 1  # nothing is tried meanwhile
        give_token(page, ANNA)
        page.page.locator("dialog").wait_for(state="detached")
        assert page.page.get_by_label("Input as JSON").input_value() == '{"kept": 1}'
        page.click("button >> text=Run")
        page.wait(".chip >> text=Finished")
        page.wait("text=Signed in as anna")


def test_a_node_that_is_restarted_is_found_again(chromium: Chromium, node: NodeProcess) -> None:
    with chromium.page(node.url, ERRORS) as page:
        page.open()
        page.wait(f"{CHIP} >> text=Live")
        page.go("#/jobs")
        page.wait("h1 >> text=Jobs")
        overview = Api(node.port).get("/api/overview").json
        node.stop()
        page.wait(f"{CHIP} >> text=Reconnecting", 20_000)
        assert page.page.evaluate("document.body.classList.contains('stale')")
        page.go("#/")
        page.wait("h1 >> text=Cannot reach the node. Last seen")
        page.wait(".tile >> text=Disk free")  # what was known stays
        overview["node"]["version"] = "1.4.0+edge.9.9.9"  # as after an update
        page.answer("**/api/overview", json=overview)
        node.start()
        page.wait("h1 >> text=Working normally", 40_000)
        page.wait("text=The node was updated. Reload")  # which nobody forces
        page.wait(f"{CHIP} >> text=Live")
        job = Api(node.port).submit("echo")
        page.go(f"#/jobs/{job}")
        page.wait(".side .chip >> text=Finished")


def test_a_node_that_is_killed_for_a_while_is_found_again(
    chromium: Chromium, node: NodeProcess
) -> None:
    with chromium.page(node.url, ERRORS) as page:
        page.open("#/jobs")
        page.wait(f"{CHIP} >> text=Live")
        node.kill()
        page.wait(f"{CHIP} >> text=Reconnecting", 20_000)
        page.page.wait_for_timeout(2000)
        node.start()
        page.wait(f"{CHIP} >> text=Live", 40_000)
        job = Api(node.port).submit("echo")
        page.wait(f'tr[data-key="{job}"] .chip.ok')
        page.go("#/")
        page.wait("h1 >> text=Working normally")


def test_a_page_of_a_node_that_was_never_reached_says_so(
    chromium: Chromium, node: NodeProcess
) -> None:
    with chromium.page(node.url, ERRORS) as page:
        page.page.route("**/api/**", lambda route: route.abort())
        page.open("#/jobs")
        page.wait("h1 >> text=Cannot read the node: The node cannot be reached")
        page.page.unroute("**/api/**")
        page.wait("h1 >> text=Jobs", 20_000)


def test_where_a_proxy_holds_back_events_the_page_asks(page: Watched) -> None:
    page.page.clock.install()
    page.page.route("**/api/events*", lambda route: None)  # which is never answered
    page.open()
    page.wait("h1 >> text=Working")
    page.page.clock.fast_forward(11_000)
    page.wait(f"{CHIP} >> text=Every 10 s")
    before = asked(page, "/api/overview")
    page.page.clock.fast_forward(11_000)
    page.page.wait_for_timeout(300)
    assert asked(page, "/api/overview") == before + 1


def test_a_page_that_is_only_open_asks_nothing(page: Watched, node: NodeProcess) -> None:
    """All it shows comes by events, also what the containers use."""
    page.page.clock.install()
    page.open("#/containers")
    page.wait(f"{CHIP} >> text=Live")
    page.wait("tr >> text=echo")
    with page.page.expect_response("**/api/nodes"):
        page.page.clock.fast_forward(4_000)  # after which it looks for other nodes, once
    before = asked(page)
    end = page.live("node.overview.history.end")
    page.event("minute", {"end": end, "done": 0, "failed": 0, "p50_ms": None})
    page.event("machine", {"containers": [{"id": "echo", "cpu_percent": 12.3, "memory": 2e6}]})
    page.wait("tr >> text=12 %")
    page.page.clock.fast_forward(12_000)
    page.page.wait_for_timeout(200)
    assert asked(page) == before
    assert page.live("node.overview.history.end") == end + 60_000


def test_ten_thousand_jobs_while_a_list_is_read(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    page.open("#/jobs")
    page.wait(f"{CHIP} >> text=Live")
    page.page.set_viewport_size({"width": 1280, "height": 400})
    api.finished([api.submit("echo") for _ in range(20)])
    page.until("document.querySelectorAll('tbody tr').length >= 20")
    page.page.evaluate("scrollTo(0, 600)")
    where = "(r => r[15].getBoundingClientRect().top)(document.querySelectorAll('tr'))"
    before = page.page.evaluate(where)
    began = time.monotonic()
    body = [{"containers": ["echo"], "data": {}}] * 500
    for _ in range(20):
        assert api.post(body, "/api/jobs/batch").status == 200
    while api.get("/api/overview").json["jobs"]["waiting"]:
        assert time.monotonic() - began < 60
        time.sleep(0.2)
    page.wait("text=More than 50 new jobs")
    assert page.page.evaluate(where) == before
    nodes = page.page.evaluate("document.querySelectorAll('*').length")
    assert nodes < 5000
    page.page.evaluate(
        "[...document.querySelectorAll('button')]"
        ".find(b => /^More than/.test(b.textContent)).click()"
    )
    page.wait("text=The newest 50.")  # without a gap
    newest = [job["id"] for job in api.get("/api/history?limit=50").json["items"]]
    assert page.page.evaluate(
        "[...document.querySelectorAll('tbody tr')].map(r => r.dataset.key)"
    ) == (newest)


def test_a_job_below_the_list_that_ends_is_not_a_new_one(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    old = api.submit("slow", {"sleep": 4})
    api.finished([api.submit("echo") for _ in range(60)])
    page.open("#/jobs")
    page.wait(f"{CHIP} >> text=Live")
    page.until("document.querySelectorAll('tbody tr').length == 50")
    page.wait(".segments small >> text=1")
    api.finished([old])
    page.page.locator(".segments small").first.wait_for(state="detached")
    newest = [job["id"] for job in api.get("/api/history?limit=50").json["items"]]
    assert old not in newest
    keys = "[...document.querySelectorAll('tbody tr')].map(r => r.dataset.key)"
    assert page.page.evaluate(keys) == newest
