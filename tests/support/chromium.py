"""Pages in a real Chromium, which watches what a page may not do.

with Chromium() as chromium, chromium.page(node.url) as page:
    page.open("#/jobs")
    page.wait("text=No jobs yet")

At the end of the block a page has logged no error, reported nothing to its security policy, sent no
request to another host, and opened no dialog.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Browser, BrowserContext, Page, Response, Route, sync_playwright

from tests.support import without_netlink
from tests.support.podman import need

_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
)
_TIMEOUT = 30_000  # milliseconds: many tests share a machine
# Before anything else of a page: what its security policy refuses is kept.
_REPORTS = """window.reports = []
addEventListener('securitypolicyviolation', (e) =>
  reports.push(e.violatedDirective + ' ' + e.blockedURI))"""


class Chromium:
    """The system's browser, without a window."""

    def __enter__(self) -> Self:
        need("chromium")
        self._stack = contextlib.ExitStack()
        playwright = self._stack.enter_context(sync_playwright())
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        program = folder / "chromium"
        wrapper = without_netlink.__file__
        program.write_text(
            "#!/bin/sh\n"
            f'export HOME="{folder}" XDG_CONFIG_HOME="{folder}" XDG_CACHE_HOME="{folder}"\n'
            f'exec {sys.executable} {wrapper} {shutil.which("chromium")} "$@"\n'
        )
        program.chmod(0o755)
        self.browser: Browser = playwright.chromium.launch(
            executable_path=program, args=list(_OPTIONS)
        )
        self._stack.callback(self.browser.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def page(self, url: str, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Watched]:
        """A page with its own storage; its console may show what contains one of `expected`."""
        options.setdefault("viewport", {"width": 1280, "height": 900})
        with contextlib.closing(self.browser.new_context(**options)) as context:
            context.set_default_timeout(_TIMEOUT)
            context.add_init_script(_REPORTS)
            watched = Watched(context, url, expected)
            yield watched
            watched.check()


class Watched:
    """A page of the node at `url`, and what went wrong in it."""

    def __init__(self, context: BrowserContext, url: str, expected: tuple[str, ...]) -> None:
        self.url = url
        self.context = context
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.loaded: list[Response] = []
        self._expected = expected
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", lambda message: self._log(message.type, message.text))
        self.page.on("dialog", lambda dialog: self._dialog(dialog))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("response", lambda response: self.loaded.append(response))

    def _log(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(each in text for each in self._expected):
            self.problems.append(f"console: {text}")

    def _dialog(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, address: str = "#/") -> None:
        """Load the page at an address such as "#/jobs"."""
        self.page.goto(f"{self.url}/{address}")

    def go(self, address: str) -> None:
        """Go to another address of the page that is loaded."""
        self.page.evaluate("address => { location.hash = address }", address)

    def wait(self, selector: str, timeout: float = _TIMEOUT) -> None:
        """Wait until something is visible."""
        self.page.locator(selector).first.wait_for(timeout=timeout)

    def until(self, script: str, seconds: float = 60.0) -> None:
        """Wait until an expression is true; Playwright's own way needs `eval` in the page."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline, script
            self.page.wait_for_timeout(50)

    def text(self, selector: str = "body") -> str:
        """What a reader sees of the first element."""
        return self.page.locator(selector).first.inner_text()

    def click(self, selector: str) -> None:
        self.page.locator(selector).first.click()

    def answer(self, path: str, **reply: Any) -> None:
        """Answer requests in place of the node; `path` is a pattern such as "**/api/chain"."""

        def fulfill(route: Route) -> None:
            route.fulfill(**reply)

        self.page.route(path, fulfill)

    def event(self, name: str, data: dict[str, Any]) -> None:
        """Give the page an event, as if it came from the node."""
        self.live("take(...given)", [name, data])

    def live(self, expression: str, given: Any = None) -> Any:
        """The value of an expression in which the names of live.js are known, and `given`."""
        return self.page.evaluate(
            f"""async (given) => {{
              const app = document.querySelector('script[type=module]').src
              const {{ node, take }} = await import(app.replace('app.js', 'live.js'))
              return {expression}
            }}""",
            given,
        )

    def check(self) -> None:
        """Raise when the page did what it may not do."""
        reports: list[str] = []
        if self.page.url.startswith("http"):
            reports = self.page.evaluate("window.reports || []")
        elsewhere = [
            each for each in self.requests if not each.startswith((self.url, "data:", "blob:"))
        ]
        assert not (found := [*self.problems, *reports, *elsewhere]), found
