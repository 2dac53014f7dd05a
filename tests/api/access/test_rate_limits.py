"""Rate limits: what counts, for whom, and what is free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infernet_edge.api.access import rate_limits
from infernet_edge.api.access.rate_limits import MAX_POLLS, POLLS, Charge, RateLimiter
from infernet_edge.config.model import RateLimit
from infernet_edge.errors import TooManyRequests
from tests.support.running import RunningNode, running
from tests.support.serving import Echo, serving


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_rate_limit_counts_per_client_and_endpoint(clock: list[float]) -> None:
    limiter = RateLimiter(RateLimit(num_requests=2, period=10))
    assert limiter.count("a", "GET /info") == [
        (b"ratelimit-limit", b"2"),
        (b"ratelimit-remaining", b"1"),
        (b"ratelimit-reset", b"10"),
    ]
    clock[0] += 3
    assert limiter.count("a", "GET /info")[1:] == [
        (b"ratelimit-remaining", b"0"),
        (b"ratelimit-reset", b"7"),
    ]
    with pytest.raises(TooManyRequests) as refused:
        limiter.count("a", "GET /info")
    assert refused.value.headers == {
        "ratelimit-limit": "2",
        "ratelimit-remaining": "0",
        "ratelimit-reset": "7",
        "retry-after": "7",
    }
    limiter.count("b", "GET /info")
    limiter.count("a", "POST /api/jobs")
    clock[0] += 6.99
    with pytest.raises(TooManyRequests):
        limiter.count("a", "GET /info")
    clock[0] += 0.01
    assert limiter.count("a", "GET /info")[1] == (b"ratelimit-remaining", b"1")


@pytest.mark.parametrize("limit", [RateLimit(num_requests=0), RateLimit(period=0)])
def test_the_rate_limit_can_be_off(limit: RateLimit) -> None:
    assert not RateLimiter(limit).active


def test_counters_are_limited(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_MAX_COUNTERS", 10)
    limiter = RateLimiter(RateLimit(num_requests=2, period=10))
    for number in range(100):
        limiter.count(f"client {number}", "GET /info")
        clock[0] += 0.01
    assert limiter.counters <= 10
    clock[0] += 10
    limiter.count("one more", "GET /info")
    assert limiter.counters == 1


async def test_the_limit_over_http(tmp_path: Path) -> None:
    document = {"server": {"rate_limit": {"num_requests": 2, "period": 60}}}
    async with running(tmp_path, document) as node:
        for remaining in ("1", "0"):
            reply = await node.get("/info")
            assert reply.status == 200
            assert reply.headers["ratelimit-limit"] == "2"
            assert reply.headers["ratelimit-remaining"] == remaining
            assert 0 < int(reply.headers["ratelimit-reset"]) <= 60
        reply = await node.get("/info")
        assert reply.status == 429
        assert reply.headers["content-type"] == "application/json"
        assert reply.body == {"error": "Too many requests", "params": {"limit": 2, "period": 60}}
        for name in ("retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"):
            assert len(reply.headers.getall(name)) == 1
        # Paths that do not exist share one counter, so that they cannot be used up one by one.
        statuses = [(await node.get(f"/{number}")).status for number in range(3)]
        assert statuses == [404, 404, 429]
        for _ in range(5):
            assert (await node.get("/health")).status == 200
        # A refused body costs one of the requests too.
        statuses = [(await node.post("/api/jobs", b"{")).status for _ in range(3)]
        assert statuses == [400, 400, 429]


def charge(limiter: RateLimiter, polls: RateLimiter) -> Charge:
    return Charge(limiter, polls, "a", "GET /api/jobs")


def test_polls_are_free_up_to_ten_a_second(clock: list[float]) -> None:
    limiter, polls = RateLimiter(RateLimit(num_requests=2, period=60)), RateLimiter(POLLS)
    for second in range(3):
        for _ in range(10):
            poll = charge(limiter, polls)
            poll.admit_poll()
            poll.waive_poll()
            assert poll.settle()[1] == (b"ratelimit-remaining", b"2")
        clock[0] += 1
        assert limiter.counters == 0, second
    for _ in range(10):
        charge(limiter, polls).waive_poll()
    for remaining in (b"1", b"0"):  # the eleventh and twelfth of a second
        poll = charge(limiter, polls)
        poll.admit_poll()
        poll.waive_poll()
        assert poll.settle()[1] == (b"ratelimit-remaining", remaining)
    with pytest.raises(TooManyRequests):
        charge(limiter, polls).admit_poll()


def test_when_the_limit_is_used_up_at_most_ten_a_second_are_executed(clock: list[float]) -> None:
    """Their execution alone shows which are polls."""
    limiter, polls = RateLimiter(RateLimit(num_requests=1, period=60)), RateLimiter(POLLS)
    charge(limiter, polls).settle()
    for _ in range(10):
        one = charge(limiter, polls)
        one.admit_poll()
        with pytest.raises(TooManyRequests):
            one.settle()
        assert one.settle() == []  # the answer of the error: it counts once
    with pytest.raises(TooManyRequests):
        charge(limiter, polls).admit_poll()
    clock[0] += 1
    poll = charge(limiter, polls)
    poll.admit_poll()
    poll.waive_poll()
    assert poll.settle()[1] == (b"ratelimit-remaining", b"0")


@asynccontextmanager
async def limited(folder: Path, echo: Echo, limit: int = 2) -> AsyncIterator[RunningNode]:
    server = {
        "rate_limit": {"num_requests": limit, "period": 60},
        "trusted_proxies": ["127.0.0.1"],
    }
    async with serving(echo) as url:
        document = {"containers": [{"id": "echo", "url": url}], "server": server}
        async with running(folder, document) as node:
            yield node
            echo.release()


@pytest.mark.parametrize("path", ["/api/jobs?id={}", "/api/jobs?pending=true&x={}"])
async def test_looking_at_own_unfinished_jobs_is_free(tmp_path: Path, path: str) -> None:
    echo = Echo()
    async with limited(tmp_path, echo) as node:
        path = path.format(await node.job(data={"hold": True}))
        for _ in range(9):
            reply = await node.get(path)
            assert (reply.status, len(reply.body)) == (200, 1)
            assert reply.headers["ratelimit-remaining"] == "2"
        others = {"x-forwarded-for": "10.0.0.9"}
        statuses = [(await node.get(path, others)).status for _ in range(3)]
        assert statuses == [200, 200, 429]  # for others it is an unknown job


async def test_what_counts(tmp_path: Path) -> None:
    echo = Echo()
    async with limited(tmp_path, echo, limit=4) as node:
        finished = await node.job()
        waiting = await node.job(data={"hold": True})
        async with node.session.get(f"{node.url}/info") as info:
            assert info.headers["ratelimit-remaining"] == "3"
        while (await node.get(f"/api/jobs?id={finished}")).body[0]["status"] == "running":
            await asyncio.sleep(1.5 / MAX_POLLS)  # more often, they would count
        remaining = []
        for query in (f"id={finished}&id={waiting}", "id=unknown", "limit=x", f"id={waiting}"):
            reply = await node.get(f"/api/jobs?{query}")
            remaining.append((reply.status, reply.headers["ratelimit-remaining"]))
        # The first that was counted found the job finished.
        assert remaining == [(200, "2"), (200, "1"), (400, "0"), (200, "0")]
        refused = await node.get(f"/api/jobs?id={finished}")
        assert refused.status == 429
        assert refused.body == {"error": "Too many requests", "params": {"limit": 4, "period": 60}}
        for name in ("retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"):
            assert len(refused.headers.getall(name)) == 1
        assert (await node.get(f"/api/jobs?id={waiting}")).status == 200


async def test_external_jobs_are_registered_without_a_limit(tmp_path: Path) -> None:
    report = {"id": "a", "status": "running", "containers": []}
    async with limited(tmp_path, Echo()) as node:
        for _ in range(5):
            reply = await node.put("/api/status", report)
            assert reply.status == 200
            assert "ratelimit-limit" not in reply.headers
        relayed = {"via": "1.1 proxy"}  # by a program on this machine, for an unknown client
        statuses = [
            (await node.request("PUT", "/api/status", report, relayed)).status for _ in range(14)
        ]
        assert statuses == [403, 403, *[429] * 12]
        assert (await node.put("/api/status", report)).status == 200
        assert (await node.put("/api/status", {})).status == 400
