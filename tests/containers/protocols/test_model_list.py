from __future__ import annotations

import pytest
from aiohttp import web

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.protocols.model_list import MAX_MODELS, read_models
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from tests.support.openai_server import OpenAIServer
from tests.support.ports import free_port
from tests.support.serving import serving


def service(url: str, **settings: object) -> Service:
    return Service(Container(id="llm", url=url, protocol="openai", **settings), managed=False)  # type: ignore[arg-type]


async def test_the_models_that_a_server_lists() -> None:
    async with HttpClient() as http, serving(OpenAIServer("a", "b:tag", "a")) as url:
        called = service(url)
        assert called.model == ""
        await read_models(http, called)
        assert called.model_ids == ["a", "b:tag"]
        assert called.model == "a"


async def test_headers_and_query_are_sent() -> None:
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response({"data": [{"id": "a"}]})

    async with HttpClient() as http, serving(answer) as url:
        settings = {"headers": {"api-key": Secret("top")}, "query": {"api-version": "1"}}
        await read_models(http, service(url, **settings))
    assert (asked[0].path_qs, asked[0].headers["api-key"]) == ("/v1/models?api-version=1", "top")


async def test_configured_models_are_not_replaced() -> None:
    server = OpenAIServer("a")
    async with HttpClient() as http, serving(server) as url:
        called = service(url, models=["mine"])
        await read_models(http, called)
    assert called.model_ids == ["mine"]
    assert server.probed == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 200),
        (b'{"data": [{"id": 5}]}', 200),
        (b"<html>", 200),
        (b'{"data": [{"id": "b"}]}', 500),
        (b'{"data": [' + b" " * 2**20 + b"]}", 200),
        (b"[" * 100_000, 200),
    ],
)
async def test_without_a_list_the_last_one_counts(body: bytes, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with HttpClient() as http, serving(answer) as url:
        called = service(url)
        called.model_ids = ["a"]
        await read_models(http, called)
        assert called.model_ids == ["a"]


async def test_a_server_that_does_not_answer() -> None:
    async with HttpClient() as http:
        called = service(f"http://127.0.0.1:{free_port()}")
        await read_models(http, called)
    assert called.model_ids == []


async def test_the_number_of_models_has_a_limit() -> None:
    names = [str(number) for number in range(MAX_MODELS + 5)]
    async with HttpClient() as http, serving(OpenAIServer(*names)) as url:
        called = service(url)
        await read_models(http, called)
    assert len(called.model_ids) == MAX_MODELS
