"""The files of the dashboard: how they are served, and what they may contain."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Final

import pytest

from infernet_edge.dashboard.package import Package
from tests.support.process import ROOT
from tests.support.running import RunningNode, running

UI: Final = ROOT / "infernet_edge" / "dashboard" / "ui"
FILES: Final = sorted(path for path in UI.rglob("*") if path.is_file())
SCRIPTS: Final = [path for path in FILES if path.suffix == ".js"]
MAX_PACKAGE: Final = 120_000  # bytes
MAX_FIRST_VIEW: Final = 45_000  # bytes, as sent
MAX_REQUESTS: Final = 12
MAX_LINES: Final = 300
TOKENS: Final = {"server": {"tokens": {"phone": "p" * 20}}}

# What could make markup or a program of a text, or load something from elsewhere.
FORBIDDEN: Final = {
    "markup": r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|Fragment\(",
    "programs": r"\beval\b|new Function|javascript:|setTimeout\(['\"`]|import\(['\"`]http",
    "inline styles": r"style=|cssText|setAttribute\(['\"`]style",
    "inline handlers": r"\son[a-z]+=[\"']",
    "storage that a request sends": r"document\.cookie",
}
# createElement and createElementNS belong to `el` in dom.js alone.
MAKERS: Final = re.compile(r"createElement|cloneNode|importNode")


def imports(name: str) -> set[str]:
    """The modules that a module imports at once, with those that they import."""
    found = {name}
    for relative in re.findall(r"^import .* from '(.+)'$", (UI / name).read_text(), re.MULTILINE):
        target = ((UI / name).parent / relative).resolve().relative_to(UI.resolve())
        found |= imports(str(target))
    return found


async def get(node: RunningNode, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and the body as it was sent."""
    sent = {"accept-encoding": "identity"} | headers
    async with node.session.get(node.url + path, headers=sent, auto_decompress=False) as response:
        fields = {name.lower(): value for name, value in response.headers.items()}
        return response.status, fields, await response.read()


async def test_every_file_is_served_as_it_is_in_the_package(tmp_path: Path) -> None:
    async with running(tmp_path, TOKENS) as node:  # and needs no token
        status, fields, index = await get(node, "/")
        assert status == 200
        assert fields["content-type"] == "text/html; charset=utf-8"
        assert fields["cache-control"] == "no-cache"
        (version,) = set(re.findall(rb"ui/([^/\"]+)/", index))
        assert index.replace(version, b"VERSION") == (UI / "index.html").read_bytes()
        for path in FILES:
            name = path.relative_to(UI).as_posix()
            if name == "index.html":
                continue
            status, fields, body = await get(node, f"/ui/{version.decode()}/{name}")
            assert (status, body) == (200, path.read_bytes())
            assert "immutable" in fields["cache-control"]
            status, zipped, body = await get(
                node, f"/ui/{version.decode()}/{name}", **{"accept-encoding": "gzip"}
            )
            assert zipped["content-encoding"] == "gzip"
            assert zipped["vary"] == "accept-encoding"
            assert gzip.decompress(body) == path.read_bytes()


async def test_a_file_is_sent_once_and_then_only_confirmed(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        _, fields, _ = await get(node, "/")
        status, again, body = await get(node, "/", **{"if-none-match": fields["etag"]})
        assert (status, body, again["etag"]) == (304, b"", fields["etag"])
        status, _, _ = await get(node, "/", **{"if-none-match": '"other"'})
        assert status == 200
        reply = await node.request("HEAD", "/")
        assert reply.status == 200
        assert int(reply.headers["content-length"]) > 1000


async def test_a_page_of_another_version_gets_files_that_it_must_not_keep(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        status, fields, _ = await get(node, "/ui/0.0.1-00000000/app.js")
        assert (status, fields["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path",
    ["/ui/x/none.js", "/ui/x/", "/ui/x/../app.js", "/ui/x/..%2fpackage.py", "/ui/x/index.html"],
)
async def test_no_other_file_is_served(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as node:
        reply = await node.get(path)
        assert reply.status == 404
        assert "error" in reply.body


async def test_pages_have_a_strict_policy_and_are_not_framed(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for path in ("/", "/ui/x/app.js"):
            _, fields, _ = await get(node, path)
            policy = dict(
                part.strip().partition(" ")[::2]
                for part in fields["content-security-policy"].split(";")
            )
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert (
                policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
            )
            assert policy["require-trusted-types-for"] == "'script'"
            assert policy["trusted-types"] == "'none'"
            assert fields["x-content-type-options"] == "nosniff"
            assert fields["x-frame-options"] == "DENY"
            assert fields["referrer-policy"] == "no-referrer"
            assert fields["cross-origin-resource-policy"] == "same-origin"
            assert "camera=()" in fields["permissions-policy"]
            assert "cross-origin-opener-policy" not in fields  # on http
        _, fields, _ = await get(node, "/health")
        assert fields["content-security-policy"] == "frame-ancestors 'none'"


async def test_the_files_do_not_count_in_the_rate_limit(tmp_path: Path) -> None:
    limit = {"server": {"rate_limit": {"num_requests": 2, "period": 60}}}
    async with running(tmp_path, limit) as node:
        statuses = [(await get(node, "/"))[0] for _ in range(5)]
        assert statuses == [200] * 5


async def test_nothing_is_read_before_the_first_request(tmp_path: Path) -> None:
    reads: list[object] = []

    class Counted(Package):
        def __init__(self) -> None:
            reads.append(self)
            super().__init__()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infernet_edge.dashboard.package.Package", Counted)
        async with running(tmp_path) as node:
            await get(node, "/health")
            assert reads == []
            await get(node, "/")
            await get(node, "/")
            assert len(reads) == 1


def test_the_package_stays_within_its_budget() -> None:
    assert sum(path.stat().st_size for path in FILES) <= MAX_PACKAGE


def test_the_first_view_stays_within_its_budget() -> None:
    """The page with what it loads for the overview, and two requests for data."""
    files = {"app.css", "theme.js"} | imports("app.js") | imports("pages/overview.js")
    package = Package()
    sent = sum(len(package.files[name].compressed) for name in files)
    assert sent + len(package.index.compressed) <= MAX_FIRST_VIEW
    assert 1 + len(files) + 2 <= MAX_REQUESTS


def test_modules_are_short() -> None:
    assert [path.name for path in SCRIPTS if len(path.read_text().splitlines()) > MAX_LINES] == []


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_text_can_become_markup_or_a_program(kind: str) -> None:
    pattern = re.compile(FORBIDDEN[kind])
    found = [
        f"{path.name}: {match[0]}" for path in FILES for match in pattern.finditer(path.read_text())
    ]
    # dom.js names the properties that it refuses, and a template of a template is no style.
    assert [each for each in found if each != "dom.js: srcdoc"] == []


def test_elements_are_made_in_one_place() -> None:
    assert [path.name for path in SCRIPTS if MAKERS.search(path.read_text())] == ["dom.js"]


def test_nothing_is_loaded_from_elsewhere() -> None:
    """The only addresses are names of the SVG namespace."""
    found = {
        address
        for path in FILES
        for address in re.findall(r"(?:https?:)?//[\w.]+\.\w+[\w./]*", path.read_text())
        if not address.endswith((".js", ".css"))
    }
    assert found == {"http://www.w3.org/2000/svg"}
