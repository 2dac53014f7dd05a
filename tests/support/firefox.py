"""Pages in a real Firefox, driven with WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).

with Firefox() as firefox, firefox.page(node.url) as page:
    page.open("#/jobs")
    page.wait("p", "No jobs yet")

At the end of the block a page has logged no error, reported nothing to its security policy, sent no
request to another host, and opened no dialog.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tests.support.podman import need

ENTER: Final = "\ue007"
CONTROL: Final = "\ue009"
ESCAPE: Final = "\ue00c"

_START_SECONDS: Final = 60.0
_COMMAND_SECONDS: Final = 60.0
_WAIT_SECONDS: Final = 30.0  # many tests share a machine
_END_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_EVENTS: Final = (
    "log.entryAdded",
    "network.beforeRequestSent",
    "browsingContext.userPromptOpened",
)
# Beside what Firefox sets by itself while it is driven: no dark or light of this machine, and no
# notice of networks that other tests make and remove.
_PREFERENCES: Final = {
    "network.notify.changed": False,
    "network.manage-offline-status": False,
    "browser.cache.disk.enable": False,
    "browser.dom.window.dump.enabled": False,
}
_SCHEME: Final = "layout.css.prefers-color-scheme.content-override"  # 0: dark, 1: light
# Before anything else of a page: what its security policy refuses is kept.
_REPORTS: Final = """() => {
  window.reports = []
  addEventListener('securitypolicyviolation', (e) =>
    reports.push(e.violatedDirective + ' ' + e.blockedURI))
}"""
# The first visible element of a selector whose text matches.
_FIND: Final = """((selector, text) => [...document.querySelectorAll(selector)].find((one) =>
  one.checkVisibility({ visibilityProperty: true }) && new RegExp(text).test(one.innerText)))"""
# The same, in the middle of the window, where nothing covers its middle.
_PRESSABLE: Final = f"""((selector, text) => {{
  const one = {_FIND}(selector, text)
  one?.scrollIntoView({{ block: 'center', behavior: 'instant' }})
  const box = one?.getBoundingClientRect()
  const hit = box && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)
  return hit && !one.disabled && (one.contains(hit) || hit.contains(one)) ? one : null
}})"""


class Firefox:
    """The system's Firefox, without a window, with a profile of its own that is removed."""

    def __init__(self, scheme: str = "light") -> None:
        self._scheme = scheme
        self.events: list[dict[str, Any]] = []
        self._number = 0

    def __enter__(self) -> Self:
        need("firefox-esr", "tests/setup firefox")
        with contextlib.ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._start(stack)
            self._runner = stack.enter_context(asyncio.Runner())
            self._session = self._runner.run(_session())
            stack.callback(lambda: self._runner.run(self._session.close()))
            self._socket = self._runner.run(self._connect())
            self.command("session.new", capabilities={})
            stack.callback(self._close)
            self.command("session.subscribe", events=list(_EVENTS))
            self.command("script.addPreloadScript", functionDeclaration=_REPORTS)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        preferences = _PREFERENCES | {_SCHEME: 0 if self._scheme == "dark" else 1}
        lines = [f'user_pref("{name}", {json.dumps(to)});' for name, to in preferences.items()]
        (profile := self._folder / "profile").mkdir()
        (profile / "user.js").write_text("\n".join(lines))
        self._log = self._folder / "firefox.log"
        home = {name: str(self._folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        program = shutil.which("firefox-esr")
        assert program is not None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(program, "--headless", "--no-remote", "--profile", str(profile)),
                    *("--remote-debugging-port", "0"),
                ],
                env=os.environ | home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # its processes are ended together
            )
        stack.callback(self._end)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        deadline = time.monotonic() + _START_SECONDS
        while not (found := re.search(r"listening on (ws://\S+)", self._log.read_text("utf-8"))):
            assert self._process.poll() is None, f"Firefox ended: {self._log.read_text('utf-8')}"
            assert time.monotonic() < deadline, f"not ready: {self._log.read_text('utf-8')}"
            await asyncio.sleep(_POLL_SECONDS)
        return await self._session.ws_connect(f"{found[1]}/session", max_msg_size=0)

    def _close(self) -> None:
        """Ask Firefox to end; `_end` ends what does not."""
        self.command("browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_END_SECONDS)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile go to `events`.

        Raises Refused when Firefox refuses the command, TimeoutError without an answer.
        """
        return self._runner.run(self._command(method, parameters))

    async def _command(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        async with asyncio.timeout(_COMMAND_SECONDS):
            await self._socket.send_json(
                {"id": self._number, "method": method, "params": parameters}
            )
            while True:
                message = await self._socket.receive_json()
                if message["type"] == "event":
                    self.events.append(message)
                elif message["id"] == self._number:
                    break
        if message["type"] == "error":
            raise Refused(f"{method}: {message['error']}: {message['message']}")
        return dict(message["result"])

    @contextlib.contextmanager
    def page(
        self, url: str, width: int = 1280, height: int = 900, expected: tuple[str, ...] = ()
    ) -> Iterator[Page]:
        """A page with its own storage; its console may show what contains one of `expected`."""
        user = self.command("browser.createUserContext")["userContext"]
        try:
            tab = self.command("browsingContext.create", type="tab", userContext=user)["context"]
            self.events.clear()
            page = Page(self, tab, url, expected)
            page.resize(width, height)
            yield page
            page.check()
        finally:
            self.command("browser.removeUserContext", userContext=user)


class Refused(AssertionError):
    """A command that Firefox refuses, or a script that failed in the page."""


class Page:
    """A page of the node at `url`, in a tab of Firefox."""

    def __init__(self, firefox: Firefox, tab: str, url: str, expected: tuple[str, ...]) -> None:
        self.url = url
        self._firefox = firefox
        self._tab = tab
        self._expected = expected

    def open(self, address: str = "#/") -> None:
        """Load the page at an address such as "#/jobs"."""
        # First elsewhere: another fragment alone loads nothing.
        for url in ("about:blank", f"{self.url}/{address}"):
            self._firefox.command(
                "browsingContext.navigate", context=self._tab, url=url, wait="complete"
            )

    def go(self, address: str) -> None:
        """Go to another address of the page that is loaded."""
        self.value(f"void (location.hash = {json.dumps(address)})")

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height}
        self._firefox.command("browsingContext.setViewport", context=self._tab, viewport=size)

    def _evaluate(self, expression: str) -> dict[str, Any]:
        answer = self._firefox.command(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
            serializationOptions={"maxDomDepth": 0},
        )
        if answer["type"] == "exception":
            raise Refused(f"{expression}: {answer['exceptionDetails']['text']}")
        return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """The value of an expression that JSON can express."""
        text = self._evaluate(f"JSON.stringify({expression})").get("value")
        return None if text is None else json.loads(text)

    def until(self, expression: str, seconds: float = _WAIT_SECONDS) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(f"!!({expression})"):
            assert time.monotonic() < deadline, f"{expression}\n{self.value(_SHOWN)}"
            time.sleep(_POLL_SECONDS)

    def wait(self, selector: str, text: str = "", seconds: float = _WAIT_SECONDS) -> None:
        """Wait until an element is visible whose text matches the regular expression `text`."""
        self.until(_call(_FIND, selector, text), seconds)

    def text(self, selector: str) -> str:
        """What a reader sees of the first visible element."""
        self.wait(selector)
        return str(self.value(f"{_call(_FIND, selector, '')}.innerText"))

    def click(self, selector: str, text: str = "") -> None:
        """Press an element with the mouse; waits until it can be pressed."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            found = self._evaluate(_call(_PRESSABLE, selector, text))
            if found["type"] == "node":
                with contextlib.suppress(Refused):  # it was replaced meanwhile
                    self._press({"sharedId": found["sharedId"]})
                    return
            assert time.monotonic() < deadline, f"{selector} {text}\n{self.value(_SHOWN)}"
            time.sleep(_POLL_SECONDS)

    def _press(self, element: dict[str, Any]) -> None:
        origin = {"type": "element", "element": element}
        self._act(
            {
                "type": "pointer",
                "id": "mouse",
                "actions": [
                    {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
                    {"type": "pointerDown", "button": 0},
                    {"type": "pointerUp", "button": 0},
                ],
            }
        )

    def type(self, text: str, held: str = "") -> None:
        """Press the keys of a text, while those of `held` are down."""
        down, up = ({"type": kind} for kind in ("keyDown", "keyUp"))
        keys = [down | {"value": key} for key in held]
        keys += [one | {"value": key} for key in text for one in (down, up)]
        keys += [up | {"value": key} for key in held]
        self._act({"type": "key", "id": "keyboard", "actions": keys})

    def _act(self, source: dict[str, Any]) -> None:
        self._firefox.command("input.performActions", context=self._tab, actions=[source])

    def replace(self, selector: str, text: str) -> None:
        """Press a field, and type a text in place of what it has."""
        self.click(selector)
        self.type("a", held=CONTROL)
        self.type(text)

    def picture(self) -> bytes:
        """What is shown, as PNG."""
        answer = self._firefox.command("browsingContext.captureScreenshot", context=self._tab)
        return base64.b64decode(answer["data"])

    def requests(self) -> list[str]:
        """The addresses that the page has asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self._firefox.events
            if event["method"] == "network.beforeRequestSent"
        ]

    def problems(self) -> list[str]:
        """Errors and warnings of the console, and dialogs."""
        found: list[str] = []
        for event in self._firefox.events:
            shown = event["params"]
            if event["method"] == "browsingContext.userPromptOpened":
                found.append(f"dialog: {shown['message']}")
            elif event["method"] == "log.entryAdded" and shown["level"] in ("error", "warn"):
                found.append(f"{shown['level']}: {shown['text']}")
        return [each for each in found if not any(one in each for one in self._expected)]

    def forget(self) -> None:
        """Check only what comes from now on."""
        self._firefox.events.clear()

    def check(self) -> None:
        """Raise when the page did what it may not do."""
        reports = self.value("window.reports || []")
        elsewhere = [
            each
            for each in self.requests()
            if not each.startswith((f"{self.url}/", "data:", "blob:", "about:"))
        ]
        assert not (found := [*self.problems(), *reports, *elsewhere]), found


_SHOWN: Final = "document.body.innerText.slice(0, 2000)"


def _call(function: str, *given: str) -> str:
    return f"{function}({', '.join(json.dumps(each) for each in given)})"


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()
