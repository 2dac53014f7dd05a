"""Against Debian's registry see test_images.py; here are those that hand out tokens."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from infernet_edge.config.model import Registry
from infernet_edge.config.secret_files import Secret
from infernet_edge.doctor.registries import refuses
from infernet_edge.http_client.client import HttpClient

_RIGHT = "Basic " + base64.b64encode(b"me:right").decode()


@asynccontextmanager
async def registry(scheme: str = "http") -> AsyncIterator[str]:
    """One whose tokens are to be had at another address, as Docker's."""

    async def index(request: web.Request) -> web.Response:
        realm = f"{scheme}://{request.host}/token"
        challenge = f'Bearer realm="{realm}",service="the registry"'
        return web.Response(status=401, headers={"www-authenticate": challenge})

    async def token(request: web.Request) -> web.Response:
        assert request.query == {"service": "the registry", "account": "me"}
        return web.Response(status=200 if request.headers["authorization"] == _RIGHT else 401)

    app = web.Application()
    app.add_routes([web.get("/v2/", index), web.get("/token", token)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("password", "scheme", "refused"),
    [("right", "http", False), ("wrong", "http", True), ("wrong", "ftp", False)],
)
async def test_a_registry_with_tokens(password: str, scheme: str, refused: bool) -> None:
    login = Registry(username="me", password=Secret(password))
    async with registry(scheme) as url, HttpClient() as http:
        assert await refuses(http, url, login) is refused


async def test_one_that_does_not_answer() -> None:
    login = Registry(username="me", password=Secret("right"))
    async with HttpClient() as http:
        assert not await refuses(http, "http://127.0.0.1:1", login)
