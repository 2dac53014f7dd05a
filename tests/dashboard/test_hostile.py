"""Texts that attack: from jobs, containers, clients and the node, in every field that is shown."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium hostile")

MARKUP: Final = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
ANSI: Final = "\x1b[31mred\x1b[0m\x1b]0;title\x07"
REVERSED: Final = "a\u202eb\u2066c"  # right-to-left override, an isolate without an end
BIG: Final = str(2**256 - 1)
CORPUS: Final = (MARKUP, ANSI, REVERSED, BIG, "{{7*7}}", "javascript:alert(3)", "\u0000\u0007")
ALL: Final = " ".join(CORPUS)
ADDRESSES: Final = ("#/", "#/jobs", "#/try", "#/containers", "#/chain", "#/nodes", "#/settings")


def attack(value: Any) -> Any:
    """The same answer, with the corpus in place of every text but ids of states."""
    if isinstance(value, dict):
        kept = ("state", "status", "level", "scope", "id", "head", "balance", "kind", "source")
        return {key: each if key in kept else attack(each) for key, each in value.items()}
    if isinstance(value, list):
        return [attack(each) for each in value]
    return ALL if isinstance(value, str) else value


def is_inert(page: Watched) -> None:
    """No element was made from a text, and hidden characters are visible."""
    assert page.page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    text = page.text("main")
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_jobs_with_such_texts_are_shown_as_they_are(page: Watched) -> None:
    page.open("#/try")
    page.wait("[aria-label='Container of step 1']")
    page.page.get_by_label("Input as JSON").fill(json.dumps({text: [text] for text in CORPUS}))
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")
    page.click("text=Open the job")
    page.until("document.querySelectorAll('.side .json').length == 2")
    is_inert(page)
    all_shown = page.text(".side")
    for text in CORPUS:
        shown = json.dumps(text, ensure_ascii=False)
        shown = shown.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066")
        if text.isprintable():
            # Of input and result, where the last value is folded.
            assert all_shown.count(shown) == 3, text


def test_characters_that_hide_are_shown_as_escapes(page: Watched) -> None:
    """Tags, soft hyphens, fillers, private use, not assigned; letters and emoji stay."""
    page.open("#/try")
    page.wait("[aria-label='Container of step 1']")
    shown = page.page.evaluate(
        """async (text) => {
          const { plain } = await import(document.querySelector('script[type=module]').src
            .replace('app.js', 'dom.js'))
          return plain(text)
        }""",
        "a\U000e0041\u00ad\u3164\u180e\u202e\ue000\ud800b\tc\n\u00e9\u6f22\U0001f600\u0430",
    )
    assert shown == (
        r"a\ue0041\u00ad\u3164\u180e\u202e\ue000\ud800b" + "\tc\n\u00e9\u6f22\U0001f600\u0430"
    )


def test_a_container_that_fails_with_markup(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    job = api.submit("broken", {"x": MARKUP})
    api.finished([job])
    page.open(f"#/jobs/{job}")
    page.wait(".side .error")
    is_inert(page)


def test_every_field_of_the_node_is_text(chromium: Chromium, node: NodeProcess) -> None:
    api = Api(node.port)
    job = api.submit("broken")
    api.finished([job])
    with chromium.page(node.url, ("Failed to load",)) as page:
        overview = attack(api.get("/api/overview").json)
        overview["me"] |= {"scope": "operator", "open": False, "name": ALL}
        overview["attention"] = [
            {"id": "x", "level": "problem", "title": ALL, "text": ALL, "fix": ALL, "command": ALL}
        ]
        server = {"host": ALL, "ok": False, "reason": ALL, "ms": None}
        chain = {
            "chain_id": 1,
            "name": ALL,
            "head": 5,
            "head_at": 1,
            "rpc": [server],
            "address": ALL,
            "balance": BIG,
            "payment_wallet": ALL,
            "pending": 0,
            "gas_spent_day": BIG,
        }
        overview["chain"] = chain
        container = attack(api.get("/api/containers").json["items"][0])
        container |= {"id": MARKUP, "state": "failed", "managed": True, "digest": ALL, "image": ALL}
        setting = {"key": ALL, "value": ALL, "default": ALL, "source": ALL, "description": ALL}
        settings = {"items": [setting], "problems": [ALL], "files": [ALL], "tls": None}
        settings |= {"tokens": [{"name": ALL, "scope": ALL, "last_used_at": 1, "expires_at": 1}]}
        rows = [{"id": 1, "state": "skipped", "reason": ALL, "owner": ALL, "containers": [ALL]}]
        page.answer("**/api/overview", json=overview)
        page.page.route("**/api/events*", lambda route: None)  # which would say what is true
        page.answer("**/api/history*", json=attack(api.get("/api/history").json))
        page.answer("**/api/containers", json={"items": [container]})
        page.answer("**/api/settings", json=settings)
        page.answer("**/api/chain", json=chain)
        page.answer("**/api/chain/*", json={"items": rows, "next": None})
        for address in (*ADDRESSES, "#/settings?tab=access", "#/containers/" + "%3Cimg%3E"):
            page.open("?" + address)
            page.wait("h1:focus, h1")
            page.page.wait_for_timeout(300)
            is_inert(page)
            assert "Could not load" not in page.text("main"), address
        page.go(f"#/jobs/{job}")
        page.page.wait_for_timeout(300)
        is_inert(page)


def test_results_of_any_form_are_shown(page: Watched, node: NodeProcess) -> None:
    """A long line, deep nesting, what is no JSON."""
    api = Api(node.port)
    bodies = ["{}" * 3, "[" * 5000, '"' + "x" * 5_000_000 + '"', '{"a":1,}', ""]
    jobs = api.finished([api.submit("echo") for _ in bodies])
    page.open("#/jobs")
    for job, body in zip(jobs, bodies, strict=True):
        path = f"**/api/jobs/{job['id']}/result"
        page.answer(path, body=body, content_type="application/json")
        page.go(f"#/jobs/{job['id']}")
        page.wait(f".side >> text={job['id']}")
        page.wait(".side >> text=Result")
        page.wait(".side >> text=Course")
        if len(body) > 100_000:
            page.click("text=Show all")
            page.click("text=Show 64 KiB")
            page.until("document.querySelector('.side .json').textContent.length > 6e4")


def test_half_of_a_character_is_shown_as_an_escape(page: Watched, node: NodeProcess) -> None:
    """JSON may hold a surrogate alone, which no encoding of text can."""
    api = Api(node.port)
    job = api.submit("echo")
    api.finished([job])
    half = '{"a\\ud800": "x\\udc00y"}'
    page.answer(f"**/api/jobs/{job}/result", body=half, content_type="application/json")
    overview = api.get("/api/overview").json
    overview["attention"] = [
        {"id": "x", "level": "warning", "title": "a\ud800b", "text": "c", "fix": "", "command": ""}
    ]
    page.answer("**/api/overview", body=json.dumps(overview), content_type="application/json")
    page.page.route("**/api/events*", lambda route: None)  # which would say what is true
    page.open(f"#/jobs/{job}")
    page.wait(".side >> text=Result")
    page.wait(".side .json .s")
    assert "x\\udc00y" in page.text(".side .json")
    page.go("#/")
    page.wait(".attention >> text=a\\ud800b")


def test_texts_are_copied_on_plain_http(chromium: Chromium, node: NodeProcess) -> None:
    """There is no Clipboard API where a page came by http from another machine."""
    with chromium.page(node.url) as page:
        page.page.add_init_script(
            "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
            "window.copied = []; document.addEventListener('copy', () =>"
            " copied.push(document.activeElement.value))"
        )
        page.open("#/try")
        page.wait("[aria-label='Container of step 1']")
        page.click("text=Copy as curl")
        page.wait(".toast >> text=Copied")
        (copied,) = page.page.evaluate("copied")
        assert copied.startswith("curl -sS 'http://127.0.0.1")
        page.page.evaluate("document.execCommand = () => false")
        page.click("text=Copy as curl")
        page.wait("dialog textarea")
        assert page.page.locator("dialog textarea").input_value() == copied


def test_the_command_that_is_copied_works(page: Watched, node: NodeProcess, tmp_path: Path) -> None:
    page.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: async (text) =>"
        " { window.copied = text } } })"
    )
    page.open("#/try")
    page.wait("[aria-label='Container of step 1']")
    page.page.get_by_label("Input as JSON").fill('{"it\'s": "$HOME `id` \\\\"}')
    page.click("text=Copy as curl")
    page.wait(".toast")
    command = page.page.evaluate("copied")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    result = json.loads(done.stdout)["result"]
    assert result["output"]["output"] == {"it's": "$HOME `id` \\"}


def test_a_download_has_all_of_a_text_and_a_safe_name(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    job = api.submit("echo", {"n": 2**256 - 1, "long": "x" * 50_000})
    api.finished([job])
    page.open(f"#/jobs/{job}")
    page.until("document.querySelectorAll('.side .json').length == 2")
    with page.page.expect_download() as download:
        page.page.locator(".parthead", has_text="Input").get_by_text("Download").click()
    assert download.value.suggested_filename == f"{job}-input.json"
    text = Path(download.value.path()).read_bytes()
    assert json.loads(text) == {"n": 2**256 - 1, "long": "x" * 50_000}
