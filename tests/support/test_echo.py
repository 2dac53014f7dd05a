"""The stand-in container does what the tests that use it rely on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.echo import CHUNKS, EchoService

pytestmark = pytest.mark.xdist_group("echo")  # its fixtures are made once


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoService]:
    folder: Path = tmp_path_factory.mktemp("echo")
    with EchoService(folder) as running:
        yield running


def job(data: Any = None, destination: int = 1) -> dict[str, Any]:
    return {"source": 1, "destination": destination, "data": data, "requires_proof": False}


async def test_it_gives_back_what_it_gets(service: EchoService) -> None:
    async with aiohttp.ClientSession(service.url) as client:
        async with client.post("/service_output", json=job({"a": 1})) as answer:
            assert await answer.json() == {"output": {"a": 1}, "echo": True}
        async with client.post("/service_output", json=job(destination=2)) as answer:
            assert await answer.read() == b"".join(CHUNKS)
        async with client.get("/calls") as answer:
            assert (await answer.json())["calls"] >= 2


@pytest.mark.parametrize(
    ("variant", "status", "body"),
    [
        ("badjson", 200, b"this is not json"),
        ("textjson", 200, b'{"ok":true}'),
        ("error500", 500, b'{"error":"boom","code":7}'),
        ("number", 200, b"42"),
        ("binary", 200, b"\xff\xfe\x00\x80abc"),
        ("redirect", 307, b""),
        ("auth", 200, b'{"headers":{"host":"'),
    ],
)
async def test_a_variant_misbehaves_in_its_way(
    service: EchoService, variant: str, status: int, body: bytes
) -> None:
    async with (
        aiohttp.ClientSession(service.url) as client,
        client.post(f"/{variant}/service_output", json=job(), allow_redirects=False) as answer,
    ):
        assert answer.status == status
        assert (await answer.read()).startswith(body)


@pytest.mark.parametrize("variant", ["close", "midbreak"])
async def test_a_broken_answer_breaks_the_connection(service: EchoService, variant: str) -> None:
    async with (
        aiohttp.ClientSession(service.url) as client,
        client.post(f"/{variant}/service_output", json=job()) as answer,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
