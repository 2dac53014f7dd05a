"""Tokens and permissions over HTTP, on a real node."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from infernet_edge.api.app import Api
from infernet_edge.api.endpoints import events
from infernet_edge.storage.token_file import FILE_NAME, MAX_TOKENS
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving
from tests.support.tokens import bearer, make_token, operate

DAY = 24 * 3600 * 1000
CONFIGURED = "0123456789abcdef"
ALL = ("read", "submit", "operator", "metrics")
READERS, WRITERS = ("read", "submit", "operator"), ("submit", "operator")

# Which scopes may use each endpoint. A new endpoint needs a decision here.
PERMITTED: dict[str, tuple[str, ...]] = {
    "GET /": ALL,
    "GET /ui/{version}/{name:path}": ALL,
    "GET /health": ALL,
    "GET /info": READERS,
    "GET /resources": READERS,
    "GET /openapi.json": READERS,
    "GET /api/jobs": READERS,
    "POST /api/jobs": WRITERS,
    "DELETE /api/jobs": WRITERS,
    "GET /api/jobs/{id}": READERS,
    "DELETE /api/jobs/{id}": WRITERS,
    "POST /api/jobs/batch": WRITERS,
    "POST /api/jobs/stream": WRITERS,
    "GET /api/history": READERS,
    "PUT /api/status": WRITERS,
    "GET /api/jobs/{id}/input": READERS,
    "GET /api/jobs/{id}/result": READERS,
    "GET /api/jobs/{id}/steps/{number}": READERS,
    "GET /api/overview": READERS,
    "GET /api/nodes": READERS,
    "GET /api/settings": ("operator",),
    "GET /api/chain": READERS,
    "GET /api/chain/deliveries": READERS,
    "GET /api/chain/subscriptions": READERS,
    "GET /api/containers": READERS,
    "GET /api/containers/{id}/logs": ("operator",),
    "POST /api/containers/{id}/restart": ("operator",),
    "POST /api/containers/{id}/pull": ("operator",),
    "POST /api/reload": ("operator",),
    "GET /api/events": READERS,
    "GET /v1/models": READERS,
    "GET /v1/models/{id:path}": READERS,
    "POST /v1/chat/completions": WRITERS,
    "POST /v1/completions": WRITERS,
    "POST /v1/embeddings": WRITERS,
    "GET /metrics": ALL,  # from this machine
    "GET /api/me": ALL,
    "GET /api/tokens": ("operator",),
    "POST /api/tokens": ("operator",),
    "DELETE /api/tokens/{name}": ("operator",),
}
OPEN = (
    "GET /",
    "GET /ui/{version}/{name:path}",
    "GET /health",
    "GET /metrics",
)  # without a token too


@asynccontextmanager
async def echoing(folder: Path, echo: Echo | None = None) -> AsyncIterator[RunningNode]:
    """A node with a container."""
    document: dict[str, Any] = {"containers": [{"id": "echo"}]}
    async with AsyncExitStack() as stack:
        document["containers"][0]["url"] = await stack.enter_async_context(serving(echo or Echo()))
        yield await stack.enter_async_context(running(folder, document))


def routes(node: RunningNode) -> set[str]:
    found = [route for route in Api(node.parts).routes if isinstance(route, Route)]
    return {f"{method} {route.path}" for route in found for method in route.methods or ()}


def filled(path: str) -> str:
    """The path of an endpoint with values; events are refused before they stream."""
    path = path.replace("{id}", "none").replace("{name}", "none").replace("{number}", "1")
    path = path.replace("{version}", "1").replace("{name:path}", "app.js")
    path = path.replace("{id:path}", "none")
    return f"{path}?types=none" if path == "/api/events" else path


def message_of(body: dict[str, Any]) -> str:
    """The text of an error, which OpenAI's API has in an object."""
    error = body["error"]
    return str(error["message"] if isinstance(error, dict) else error)


def scope_in(body: dict[str, Any]) -> str:
    """The scope that an error asks for."""
    found = re.search(r"needs the scope (\w+):", message_of(body))
    assert found is not None
    assert body.get("params", {"scope": found[1]}) == {"scope": found[1]}
    return found[1]


async def test_each_scope_may_use_these_endpoints_only(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        served = routes(node)
        assert {each for each in served if not each.startswith("HEAD ")} == set(PERMITTED)
        holders = {scope: await make_token(node, scope, scope) for scope in ALL}
        for endpoint in served:
            method, path = endpoint.split()
            path = filled(path)
            allowed = PERMITTED[endpoint.replace("HEAD ", "GET ")]
            for scope, headers in holders.items():
                reply = await node.request(method, path, None, headers)
                refused = reply.status == 403 and (
                    method == "HEAD" or "This needs the scope" in message_of(reply.body)
                )
                assert refused is (scope not in allowed), (endpoint, scope, reply)
                if refused and method != "HEAD":
                    assert scope not in PERMITTED[endpoint]
                    assert scope_in(reply.body) in allowed
            expected = 200 if endpoint.replace("HEAD ", "GET ") in OPEN else 401
            assert (await node.request(method, path)).status == expected, endpoint


async def test_without_tokens_everyone_has_submit(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        me = await node.get("/api/me")
        assert me.body == {
            "client": "127.0.0.1",
            "name": None,
            "scope": "submit",
            "expires_at": None,
            "open": True,
        }
        for endpoint, allowed in PERMITTED.items():
            method, path = endpoint.split()
            path = filled(path)
            reply = await node.request(method, path)
            assert (reply.status == 403) is not bool({"submit"} & {*allowed}), (endpoint, reply)


async def test_a_token_is_made_used_listed_and_revoked_without_a_restart(tmp_path: Path) -> None:
    async with echoing(tmp_path) as node:
        assert (await node.get("/info")).status == 200
        made = await operate(node, "POST", "/api/tokens", {"name": "phone", "scope": "submit"})
        assert made.status == 200
        assert made.body["closed_node"] is True
        text = made.body["token"]
        assert len(text) >= 4 + 32
        assert (await node.get("/info")).status == 401
        phone = bearer(text)
        job = await node.job(headers=phone)
        assert (await node.finished(job, phone))["status"] == "success"
        me = (await node.get("/api/me", phone)).body
        assert (me["client"], me["name"], me["scope"]) == ("token:phone", "phone", "submit")
        again = await operate(node, "POST", "/api/tokens", {"name": "phone", "scope": "read"})
        assert again.status == 409
        lab = await operate(node, "POST", "/api/tokens", {"name": "lab", "scope": "read"})
        assert lab.body["closed_node"] is False
        listed = (await operate(node, "GET", "/api/tokens")).body
        assert [each["name"] for each in listed["tokens"]] == ["phone", "lab"]
        assert listed["tokens"][0]["last_used_at"] is not None
        assert listed["tokens"][1]["last_used_at"] is None
        assert listed["open"] is False
        assert (await operate(node, "DELETE", "/api/tokens/phone")).status == 200
        reply = await node.get("/info", phone)
        assert reply.status == 401
        assert "was revoked on 20" in reply.body["error"]
        assert reply.body["params"] == {"reason": "revoked", "name": "phone"}
        last = await operate(node, "DELETE", "/api/tokens/lab")
        assert last.status == 409
        assert last.body["params"]["opens_node"] is True
        assert (await node.get("/info")).status == 401
        assert (await operate(node, "DELETE", "/api/tokens/lab?open=true")).body["open"] is True
        assert (await node.get("/info")).status == 200
        assert (await operate(node, "DELETE", "/api/tokens/lab")).status == 404
        stored = (node.parts.config.storage_path / FILE_NAME).read_text()
        assert text not in stored


async def test_tokens_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        phone = await make_token(node, "phone", "submit", expires="30d")
        old = await make_token(node, "old", "submit")
        await operate(node, "DELETE", "/api/tokens/old")
        assert (await node.get("/info", phone)).status == 200
        before = (await operate(node, "GET", "/api/tokens")).body
    async with running(tmp_path) as node:
        assert (await node.get("/info", phone)).status == 200
        assert (await node.get("/info")).status == 401
        assert (await node.get("/info", old)).body["params"]["reason"] == "revoked"
        (after,) = (await operate(node, "GET", "/api/tokens")).body["tokens"]
        (token,) = before["tokens"]
        assert abs(after["expires_at"] - token["created_at"] - 30 * DAY) < DAY
        assert after["last_used_at"] >= token["last_used_at"]


async def test_an_expired_token_is_refused_and_does_not_open_the_node(tmp_path: Path) -> None:
    tokens = {
        "old": {"token": CONFIGURED, "scope": "operator", "expires": "2026-11-02"},
        "new": {"token": f"{CONFIGURED}x", "scope": "operator", "expires": "2199-01-01"},
    }
    async with running(tmp_path / "old", {"server": {"tokens": {"old": tokens["old"]}}}) as node:
        reply = await node.get("/info", bearer(CONFIGURED))
        assert reply.status == 401
        assert "expired on 2026-11-02 00:00 UTC" in reply.body["error"]
        assert reply.body["params"] == {"reason": "expired", "name": "old"}
        assert 'error="invalid_token"' in reply.headers["www-authenticate"]
        assert (await node.get("/info")).status == 401
    async with running(tmp_path / "new", {"server": {"tokens": {"new": tokens["new"]}}}) as node:
        assert (await node.get("/api/tokens", bearer(f"{CONFIGURED}x"))).status == 200


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"scope": "read"}, 400, "name"),
        ({"name": "x"}, 400, "scope"),
        ({"name": "x", "scope": "admin"}, 400, "scope"),
        ({"name": "", "scope": "read"}, 400, "1 to 64 letters"),
        ({"name": "-x", "scope": "read"}, 400, "1 to 64 letters"),
        ({"name": "a/b", "scope": "read"}, 400, "1 to 64 letters"),
        ({"name": "a\n", "scope": "read"}, 400, "1 to 64 letters"),
        ({"name": "x" * 65, "scope": "read"}, 400, "1 to 64 letters"),
        ({"name": "x", "scope": "read", "expires": "soon"}, 400, "a date such as"),
        ({"name": "x", "scope": "read", "expires": "2020-01-01"}, 400, "in the future"),
        ({"name": "x", "scope": "read", "expires": 5}, 400, "expires"),
        ({"name": "bob", "scope": "read"}, 409, "server.tokens"),
        ([], 400, "body"),
        (b"{", 400, "JSON"),
        (b'"%b"' % (b"x" * 5000), 413, "large"),
    ],
)
async def test_what_is_no_request_for_a_token(
    tmp_path: Path, body: Any, status: int, text: str
) -> None:
    operator = {"token": CONFIGURED, "scope": "operator"}
    async with running(tmp_path, {"server": {"tokens": {"bob": operator}}}) as node:
        reply = await node.post("/api/tokens", body, bearer(CONFIGURED))
        assert reply.status == status, reply
        assert text in reply.body["error"]
        listed = (await node.get("/api/tokens", bearer(CONFIGURED))).body["tokens"]
        assert [each["name"] for each in listed] == ["bob"]


async def test_a_token_of_the_configuration_is_removed_there(tmp_path: Path) -> None:
    async with running(tmp_path, {"server": {"tokens": {"bob": CONFIGURED}}}) as node:
        reply = await operate(node, "DELETE", "/api/tokens/bob?open=true")
        assert reply.status == 409
        assert (
            "in server.tokens: remove it there, then run: infernet-edge reload"
            in reply.body["error"]
        )
        assert (await node.get("/info", bearer(CONFIGURED))).status == 200


async def test_the_number_of_tokens_is_limited(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for number in range(MAX_TOKENS):
            await node.parts.tokens.create(f"t{number}", "read", None)
        reply = await operate(node, "POST", "/api/tokens", {"name": "x", "scope": "read"})
        assert reply.status == 409
        assert str(MAX_TOKENS) in reply.body["error"]


async def test_jobs_of_a_revoked_name_do_not_fall_to_another_person(tmp_path: Path) -> None:
    async with echoing(tmp_path) as node:
        phone = await make_token(node, "phone", "submit")
        await make_token(node, "other", "submit")
        job = await node.job(headers=phone)
        await node.finished(job, phone)
        assert (await operate(node, "DELETE", "/api/tokens/phone")).status == 200
        request = {"name": "phone", "scope": "submit"}
        reply = await operate(node, "POST", "/api/tokens", request)
        assert reply.status == 409
        assert "--keep-jobs" in reply.body["error"]
        again = await make_token(node, "phone", "submit", keep_jobs=True)
        assert (await node.get(f"/api/jobs/{job}", again)).status == 200
        assert (await node.get("/info", phone)).body["params"]["reason"] == "revoked"


async def test_an_operator_sees_and_cancels_the_jobs_of_all_clients(tmp_path: Path) -> None:
    async with echoing(tmp_path) as node:
        phone = await make_token(node, "phone", "submit")
        other = await make_token(node, "other", "submit")
        operator = await make_token(node, "boss", "operator")
        done = await node.job(headers=phone)
        await node.finished(done, phone)
        held = await node.job(data={"hold": True}, headers=other)
        stranger = f"/api/jobs?id={done}&id={held}"
        assert len((await node.get(stranger, phone)).body) == 1
        assert len((await node.get(stranger, operator)).body) == 2
        assert (await node.get("/api/jobs", operator)).body == []
        assert (await node.get(f"/api/jobs/{held}", phone)).status == 404
        detail = await node.get(f"/api/jobs/{held}?detail=true", operator)
        assert detail.body["detail"]["container"] == "echo"

        async def clients(query: str, headers: dict[str, str]) -> list[str]:
            reply = await node.get(f"/api/history?{query}", headers)
            return [item["client"] for item in reply.body["items"]]

        assert await clients("", operator) == ["token:other", "token:phone"]
        assert await clients("client=token:phone", operator) == ["token:phone"]
        assert await clients("client=nobody", operator) == []
        assert await clients("", phone) == ["token:phone"]
        assert await clients("client=token:other", phone) == []
        assert (await node.request("DELETE", f"/api/jobs/{held}", None, phone)).status == 404
        waiting = asyncio.create_task(node.get(f"/api/jobs/{held}?wait=20", operator))
        await asyncio.sleep(0.05)
        cancelled = await node.request("DELETE", f"/api/jobs?id={held}", None, operator)
        assert [each["status"] for each in cancelled.body] == ["failed"]
        assert (await asyncio.wait_for(waiting, 10)).body["status"] == "failed"
        assert (await node.result(held, other))["status"] == "failed"


async def test_what_is_open_continues_when_its_token_is_revoked(tmp_path: Path) -> None:
    echo = Echo()
    async with echoing(tmp_path, echo) as node:
        phone = await make_token(node, "phone", "submit")
        await make_token(node, "other", "submit")
        job = await node.job(data={"hold": True}, headers=phone)
        waiting = asyncio.create_task(node.get(f"/api/jobs/{job}?wait=20", phone))
        await asyncio.sleep(0.1)
        grant = node.parts.tokens.find(phone["authorization"].removeprefix("Bearer ").encode())
        assert grant.is_valid()
        assert (await operate(node, "DELETE", "/api/tokens/phone")).status == 200
        assert not grant.is_valid()  # what has no end looks at this
        assert (await node.get(f"/api/jobs/{job}", phone)).status == 401
        echo.release()
        reply = await asyncio.wait_for(waiting, 10)
        assert (reply.status, reply.body["status"]) == (200, "success")


@pytest.mark.parametrize("how", ["revoked", "closed"])
async def test_a_reader_of_events_is_closed_when_it_may_not_read_them_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT_PERIOD", 0.05)
    async with running(tmp_path) as node:
        headers = {}
        if how == "revoked":
            headers = await make_token(node, "phone", "read")
            await make_token(node, "other", "read")
        async with node.session.get(f"{node.url}/api/events", headers=headers) as response:
            assert response.status == 200
            assert await response.content.readany()
            if how == "revoked":
                await operate(node, "DELETE", "/api/tokens/phone")
            else:
                await make_token(node, "first", "read")
            await asyncio.wait_for(response.content.read(), 10)  # up to the last chunk
        assert (await node.get("/info", headers)).status == 401


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[: len(text) // 2],
        lambda text: b"\0" * len(text),
        lambda text: b"{}",
        lambda text: b"[" * 100_000,
        lambda text: text.replace(b'"read"', b'"operator"'),
        lambda text: text.replace(b'"version":1', b'"version":2'),
        lambda text: b"x" * 300_000,
    ],
)
async def test_a_damaged_file_does_not_open_the_node(tmp_path: Path, damage: Any) -> None:
    async with running(tmp_path) as node:
        phone = await make_token(node, "phone", "read")
        path = node.parts.config.storage_path / FILE_NAME
    intact = path.read_bytes()
    path.write_bytes(damage(intact))
    async with running(tmp_path) as node:
        assert (await node.get("/info")).status == 401
        reply = await node.get("/info", phone)
        assert reply.status == 401
        assert "infernet-edge status" in reply.body["error"]
        (problem,) = (await operate(node, "GET", "/status")).body["problems"]
        assert str(path) in problem
        assert "--replace-damaged" in problem
        request = {"name": "new", "scope": "read"}
        assert (await operate(node, "POST", "/api/tokens", request)).status == 409
        assert (await operate(node, "DELETE", "/api/tokens/phone?open=true")).status == 409
        made = await operate(node, "POST", "/api/tokens", {**request, "replace_damaged": True})
        assert made.status == 200
        assert made.body["closed_node"] is False
        assert (await node.get("/info", bearer(made.body["token"]))).status == 200
        assert (await node.get("/info", phone)).status == 401
        assert (await operate(node, "GET", "/status")).body["problems"] == []
        (kept,) = path.parent.glob(f"{FILE_NAME}.damaged-*")
        assert kept.read_bytes() == damage(intact)


async def test_a_restored_file_is_read_at_the_next_change(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        phone = await make_token(node, "phone", "read")
        path = node.parts.config.storage_path / FILE_NAME
    intact = path.read_bytes()
    path.write_bytes(b"damaged")
    async with running(tmp_path) as node:
        path.write_bytes(intact)
        await make_token(node, "new", "read")
        assert (await node.get("/info", phone)).status == 200


async def test_a_token_of_the_configuration_is_valid_with_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / FILE_NAME).write_bytes(b"damaged")
    async with running(tmp_path, {"server": {"tokens": {"bob": CONFIGURED}}}) as node:
        assert (await node.get("/info", bearer(CONFIGURED))).status == 200


async def test_a_made_token_gives_way_to_one_of_the_configuration(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        made = await make_token(node, "bob", "operator")
    async with running(tmp_path, {"server": {"tokens": {"bob": CONFIGURED}}}) as node:
        assert (await node.get("/info", bearer(CONFIGURED))).status == 200
        assert (await node.get("/info", made)).body["params"]["reason"] == "replaced"
        (problem,) = (await operate(node, "GET", "/status")).body["problems"]
        assert "infernet-edge token revoke bob" in problem
        assert (await operate(node, "DELETE", "/api/tokens/bob")).status == 200
        assert (await operate(node, "GET", "/status")).body["problems"] == []


async def test_a_disk_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        phone = await make_token(node, "phone", "read")
        path = node.parts.config.storage_path / FILE_NAME
        blocker = path.with_name(f"{FILE_NAME}.new")
        blocker.mkdir()
        reply = await operate(node, "POST", "/api/tokens", {"name": "x", "scope": "read"})
        assert reply.status == 503
        assert (await operate(node, "DELETE", "/api/tokens/phone?open=true")).status == 503
        assert (await node.get("/info", phone)).status == 200
        assert (await node.get("/info")).status == 401
        blocker.rmdir()
        assert (await operate(node, "DELETE", "/api/tokens/phone?open=true")).status == 200


async def test_10000_wrong_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as node:
        phone = await make_token(node, "phone", "read")
        statuses: dict[int, int] = {}

        async def guess(first: int) -> None:
            for number in range(first, first + 500):
                reply = await node.get("/info", bearer(f"iet_guess-{number:028}"))
                statuses[reply.status] = statuses.get(reply.status, 0) + 1

        await asyncio.gather(*(guess(500 * part) for part in range(20)))
        assert statuses[401] <= 20  # 10 a minute, perhaps of two minutes
        assert statuses[401] + statuses[429] == 10_000
        assert (await node.get("/info", phone)).status == 200
        assert "guess" not in json.dumps([str(each.__dict__) for each in caplog.records])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_programs_of_this_machine_need_no_token_for_the_metrics(
    tmp_path: Path, method: str
) -> None:
    """There may be no such endpoint yet; who may use it is decided before that."""
    async with running(tmp_path) as node:
        await make_token(node, "phone", "submit")
        for headers, refused in (
            ({}, False),
            ({"origin": node.url}, True),
            ({"sec-fetch-site": "same-origin"}, True),
            ({"x-forwarded-for": "10.0.0.1"}, True),
            ({"via": "1.1 proxy"}, True),
        ):
            reply = await node.request(method, "/metrics", None, headers)
            assert (reply.status == 401) is refused, (headers, reply)
