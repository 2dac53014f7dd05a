"""The main walk through the dashboard in a second browser, with real keys and presses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.client import Api
from tests.support.echo import EchoService
from tests.support.firefox import CONTROL, ENTER, ESCAPE, Firefox, Page
from tests.support.node import NodeProcess
from tests.support.operating import managed
from tests.support.podman import IsolatedPodman

pytestmark = [pytest.mark.nightly, pytest.mark.xdist_group("firefox"), pytest.mark.timeout(300)]

CONTRAST: Final = (Path(__file__).parent / "contrast.js").read_text()
# With PICTURES=FOLDER the pages are kept there as pictures, to be looked at.
PICTURES: Final = os.environ.get("PICTURES", "")
PHONE: Final = "phone-0123456789abcdef"
BIG: Final = 2**256 - 1
INPUT: Final = "textarea[aria-label='Input as JSON']"
RESULT: Final = "section[aria-label=Result]"
CHIP: Final = ".pagehead .chip"
SCHEMA: Final = {
    "required": ["prompt", "seed"],
    "properties": {
        "prompt": {"type": "string", "minLength": 3},
        "seed": {"type": "integer", "minimum": 1},
        "style": {"enum": ["plain", "poem"]},
        "loud": {"type": "boolean", "default": True},
    },
}
PAGES: Final = {
    "#/": ("h1", "Working normally"),
    "#/jobs": ("tbody tr", "echo"),
    "#/try": (INPUT, ""),
    "#/containers": ("tr", "echo"),
    "#/containers/echo": (".side", "not managed here"),
    "#/nodes": ("h1", "Nodes"),
    "#/settings?tab=browser": ("label", "Theme"),
    "#/settings?tab=values": (".row", "jobs.max_pending"),
    "#/settings?tab=access": ("h2", "Tokens"),
    "#/settings?tab=about": ("p", "Version"),
}


@pytest.fixture(scope="module")
def node(echo: EchoService, folder: Path) -> Iterator[NodeProcess]:
    """A node that is open to its network; one of its containers has a form."""
    containers = [
        {"id": "echo", "url": echo.url},
        {"id": "slow", "url": f"{echo.url}/slow"},
        {"id": "broken", "url": f"{echo.url}/error500"},
        {"id": "writer", "url": echo.url, "input_schema": SCHEMA},
    ]
    with NodeProcess({"containers": containers, "jobs": {"keep_inputs": "all"}}, folder) as node:
        yield node


@pytest.fixture(scope="module")
def firefox() -> Iterator[Firefox]:
    with Firefox() as firefox:
        yield firefox


@pytest.fixture
def page(firefox: Firefox, node: NodeProcess) -> Iterator[Page]:
    with firefox.page(node.url) as page:
        yield page


@pytest.fixture(scope="module")
def guarded(echo: EchoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that asks for a token."""
    config = {
        "containers": [
            {"id": "echo", "url": echo.url},
            {"id": "broken", "url": f"{echo.url}/error500"},
        ],
        "server": {"tokens": {"phone": {"token": PHONE, "scope": "operator"}}},
    }
    with NodeProcess(config, tmp_path_factory.mktemp("guarded")) as node:
        yield node


def choose(page: Page, selector: str, name: str) -> None:
    """Choose an option by typing the beginning of its name."""
    page.wait(selector)
    page.value(f"void document.querySelector({selector!r}).focus()")
    page.type(name)
    page.until(f"document.querySelector({selector!r}).selectedOptions[0].text === {name!r}")


def try_it(page: Page, text: str, container: str = "") -> None:
    page.open("#/")
    page.click("nav a", "Try it")
    if container:
        choose(page, "select[aria-label='Container of step 1']", container)
    page.replace(INPUT, text)


def test_the_overview_is_live_and_says_that_all_is_well(page: Page) -> None:
    page.open()
    page.wait("h1", "^Working normally$")
    page.wait(CHIP, "Live")
    page.wait(".tile", "Disk free")
    assert page.value("document.title").endswith("· Working normally")
    assert page.value("document.querySelector('link[rel=icon]').href").startswith("data:image/svg")


def test_a_job_is_run_and_its_digits_are_kept(page: Page) -> None:
    try_it(page, f'{{"n": {BIG}}}')
    page.type(ENTER, held=CONTROL)
    page.wait(f"{RESULT} .chip", "Finished")
    page.wait(f"{RESULT} .json", str(BIG))
    page.click("a", "Open the job")
    page.wait(".side .json", str(BIG))
    page.click("nav a", "Jobs")
    page.click("tbody tr .rowlink", "echo")
    page.wait(".side h2", "Course")
    page.type(ESCAPE)
    page.until("!document.querySelector('.side')?.checkVisibility()")


def test_a_stream_is_shown_as_it_comes(page: Page) -> None:
    try_it(page, "{}")
    page.click("button", "^Stream$")
    page.wait(f"{RESULT} pre", "chunk-3")
    page.wait(f"{RESULT} .chip", "Finished")
    assert page.text(f"{RESULT} pre").split() == [f"chunk-{number}" for number in range(20)]


def test_a_running_job_is_cancelled(page: Page) -> None:
    try_it(page, '{"sleep": 60}', "slow")
    page.click("button", "^Run")
    page.wait(f"{RESULT} .chip", "Running")
    page.click("button", "^Cancel$")
    page.wait(f"{RESULT} .chip", "Cancelled")
    page.click("a", "Open the job")
    page.wait(".side .error", "Cancelled by the client")


def test_a_mistake_in_the_input_is_named(page: Page) -> None:
    try_it(page, "")
    mistakes = {
        '{"a": }': "^Line 1: unexpected character$",
        "[1]": "object",
        "{}\n{": "^Line 2: unexpected non-whitespace",
        '{\n"a': "^Line 2: unterminated string",
    }
    for text, problem in mistakes.items():
        page.replace(INPUT, text)
        page.click("button", "^Run")
        page.wait(".invalid", problem, 5)
    assert not [each for each in page.requests() if each.endswith("/api/jobs")]


def test_a_form_checks_its_fields(page: Page) -> None:
    page.open("#/try?container=writer")
    page.click(".form input[aria-label='seed *']")
    page.click("button", "^Run")
    page.until("document.activeElement.getAttribute('aria-label') === 'prompt *'")
    page.type("The house")
    page.click(".form input[aria-label='seed *']")
    page.type("0")
    page.click("button", "^Run")
    page.until("document.querySelector('input[type=number]').validity.rangeUnderflow")
    page.replace(".form input[aria-label='seed *']", str(BIG))
    page.click("button", "^Run")
    page.wait(f"{RESULT} .chip", "Finished")
    page.wait(f"{RESULT} .json", f'"seed": {BIG}')
    page.click("button", "^As JSON$")
    page.until(f"document.querySelector({INPUT!r}).value.includes('{BIG}')")


def test_json_is_folded_and_copied(page: Page, node: NodeProcess) -> None:
    api = Api(node.port)
    job = api.submit("echo", {"a": {"b": {"c": {"d": {"deep": [1, 2]}}}}})
    api.finished([job])
    page.open(f"#/jobs/{job}")
    shown = "document.querySelector('.side .json').innerText"
    page.wait(".side .json", '"a": ')
    folded = page.value(f"{shown}.split('\\n').length")
    for name in ("b", "c", "d", "deep"):
        assert f'"{name}"' not in page.value(shown)
        page.click(".side .json details:not([open]) > summary")
        page.until(f"{shown}.includes('\"{name}\": ')")
    assert page.value(f"{shown}.split('\\n').length") > folded
    page.click(".side .parthead button", "^Copy$")
    page.wait(".toast", "Copied")


def test_a_job_of_another_appears_in_the_list(page: Page, node: NodeProcess) -> None:
    page.open("#/jobs")
    page.wait(CHIP, "Live")
    job = Api(node.port).submit("slow", {"sleep": 1.5})
    page.wait(f'tr[data-key="{job}"] .chip.run')
    page.wait(f'tr[data-key="{job}"] .chip.ok')


def test_new_jobs_do_not_move_the_list_under_a_reader(page: Page, node: NodeProcess) -> None:
    api = Api(node.port)
    api.finished([api.submit("echo") for _ in range(60)])
    page.resize(1280, 500)
    page.open("#/jobs")
    page.wait("tbody tr")
    page.value("void scrollTo(0, 900)")
    where = "(r => [r.length, r[30].getBoundingClientRect().top])(document.querySelectorAll('tr'))"
    before = page.value(where)
    fresh = api.submit("echo")
    page.until("/1 new job/.test(document.body.innerText)")
    assert page.value(where) == before
    page.click("button", "1 new job")
    page.wait(f'tr[data-key="{fresh}"]')


def test_containers_say_how_they_are(page: Page) -> None:
    page.open("#/containers")
    page.click("tr .rowlink", "broken")
    page.wait(".side", "is not managed here")
    page.click(".side a, .side button", "Try it")
    page.wait("h1", "Try it")
    page.until("document.querySelector('.chosen select').value === 'broken'")


def test_the_theme_of_this_browser_is_kept(page: Page) -> None:
    colour = "getComputedStyle(document.body).color"
    page.open("#/settings")
    page.wait("label", "Theme")
    light = page.value(colour)
    choose(page, "#theme", "Dark")
    page.until(f"{colour} !== {light!r}")
    dark = page.value(colour)
    page.open("#/settings")
    page.wait("label", "Theme")
    assert page.value(colour) == dark


def test_a_token_is_asked_for_until_it_is_right(firefox: Firefox, guarded: NodeProcess) -> None:
    with firefox.page(guarded.url) as page:
        page.open("#/jobs")
        page.wait("dialog", "This node needs a token")
        page.type(ESCAPE)  # it cannot be passed by
        page.wait("dialog", "This node needs a token")
        page.click("dialog input[type=password]")
        page.type(f"wrong-0123456789abcdef{ENTER}")
        page.wait("dialog .why", "^(?!This node needs)")
        page.click("dialog input[type=password]")
        page.type(PHONE)
        page.click("dialog button", "Use it")
        page.until("!document.querySelector('dialog')")
        page.wait(".empty, .none", "No jobs yet")
        assert not [each for each in page.requests() if PHONE in each]
        page.click("nav a", "Settings")
        page.wait(".row", r"jobs\.max_pending")
        page.click("a", "^Access$")
        page.wait(".row", "phone")
        page.click("nav button", "Sign out")
        page.wait("dialog", "This node needs a token")
        assert page.value("localStorage.length") == 0


def test_a_node_that_is_restarted_is_found_again(firefox: Firefox, node: NodeProcess) -> None:
    with firefox.page(node.url) as page:
        page.open()
        page.wait("h1", "Working normally")
        page.wait(CHIP, "Live")
        node.stop()
        page.wait(CHIP, "Reconnecting", 40)
        page.wait("h1", "Cannot reach the node")
        page.wait(".tile", "Disk free")  # what was known stays
        node.start()
        page.wait("h1", "Working normally", 60)
        page.wait(CHIP, "Live")
        page.click("nav a", "Jobs")
        job = Api(node.port).submit("echo")
        page.wait(f'tr[data-key="{job}"] .chip.ok')


def test_a_log_does_not_move_under_a_reader(
    firefox: Firefox, podman: IsolatedPodman, tmp_path: Path
) -> None:
    config: dict[str, Any] = managed(podman, {"id": "echo", "image": podman.echo_image()})
    config["server"] = {"tokens": {"phone": {"token": PHONE, "scope": "operator"}}}
    log = "document.querySelector('.log')"
    with NodeProcess(config, tmp_path) as node, firefox.page(node.url) as page:
        api = Api(node.port, headers={"authorization": f"Bearer {PHONE}"})
        page.open(f"#token={PHONE}")
        page.wait("#about", "Signed in as phone")
        page.click("nav a", "Containers")
        page.wait("tr .chip.ok", seconds=60)
        page.click("tr .rowlink", "echo")
        page.wait(".side .log")
        lines = [api.submit("echo", {"print": f"~line {number}"}) for number in range(120)]
        api.finished(lines)
        page.until(f"{log}.textContent.includes('line 119')")
        page.until(f"{log}.scrollHeight - {log}.scrollTop - {log}.clientHeight < 40")
        page.value(f"void ({log}.scrollTop = 100)")
        page.until(f"{log}.scrollTop === 100")
        page.value("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
        api.finished([api.submit("echo", {"print": "~the newest"})])
        page.wait(".newer", "new line")
        assert page.value(f"{log}.scrollTop") == 100
        keep(page, "log")
        page.click(".newer")
        page.until(f"{log}.scrollHeight - {log}.scrollTop - {log}.clientHeight < 40")
        page.click("input[aria-label='Find in the log']")
        page.type("newest")
        page.wait(".log mark", "newest")
        page.click(".side button", "^Restart$")
        page.wait("dialog", "Restart echo?")
        page.until("document.activeElement.innerText === 'Do not'")
        keep(page, "question")
        page.type(ENTER)
        page.until("!document.querySelector('dialog')")
        assert api.get("/api/containers").json["items"][0]["restarts"] == 0
        page.click(".side button", "^Restart$")
        page.click("dialog button", "^Restart$")
        page.wait(".toast", "echo is starting")
        page.wait("tr .chip.ok", seconds=60)


def test_a_page_that_does_what_it_may_not_is_noticed(page: Page) -> None:
    """The control of what every page is checked for."""
    page.open()
    page.wait("h1", "Working normally")
    page.check()
    page.value("void console.error('a mistake')")
    with pytest.raises(AssertionError, match="error: a mistake"):
        page.check()
    page.forget()
    page.value("void document.body.setAttribute('style', 'color:red')")
    page.until("reports.length")
    with pytest.raises(AssertionError, match="style-src-attr inline"):
        page.check()
    page.open()
    page.forget()
    page.value("fetch('https://192.0.2.1/').catch(() => {})")
    with pytest.raises(AssertionError, match=r"connect-src https://192\.0\.2\.1/"):
        page.check()
    page.open()
    page.forget()
    page.value("void alert('look')")
    with pytest.raises(AssertionError, match="dialog: look"):
        page.check()
    page.forget()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_can_be_read(guarded: NodeProcess, scheme: str) -> None:
    """At the sizes of a phone and a desk: no sideways scroll, and a contrast of 4.5 to 1."""
    api = Api(guarded.port, headers={"authorization": f"Bearer {PHONE}"})
    finished, failed = (api.submit(each, {"x": 1}) for each in ("echo", "broken"))
    api.finished([finished, failed])
    pages = PAGES | {f"#/jobs/{each}": (".side h2", "Course") for each in (finished, failed)}
    with Firefox(scheme) as firefox, firefox.page(guarded.url) as page:
        page.open(f"#token={PHONE}")
        page.wait("#about", "Signed in as phone")
        for address, shown in pages.items():
            page.go(address)
            page.wait(*shown)
            for width, height in ((360, 780), (1280, 900)):
                page.resize(width, height)
                sizes = "(e => [e.scrollWidth, e.clientWidth])(document.documentElement)"
                scrolled, inside = page.value(sizes)
                assert scrolled == inside, (address, width)
                assert page.value(f"({CONTRAST})()") == [], (address, width)
                keep(page, f"{scheme}-{width}-{address.strip('#/').replace('/', '-')}")
        assert page.value("matchMedia('(prefers-color-scheme: dark)').matches") is (
            scheme == "dark"
        )


def keep(page: Page, name: str) -> None:
    if PICTURES:
        (Path(PICTURES) / f"{name}.png").write_bytes(page.picture())
