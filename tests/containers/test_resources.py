from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from infernet_edge.config.model import Container, Model
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.resources import MAX_PARALLEL, Resources
from infernet_edge.containers.service import Service
from infernet_edge.hardware import Hardware
from infernet_edge.http_client.client import HttpClient
from infernet_edge.schema import encoder
from tests.support.machines import root_of
from tests.support.openai_server import OpenAIServer
from tests.support.ports import free_port
from tests.support.serving import serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HOST_MODEL = "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)"
MAX_BYTES = 100_000


def answering(
    body: str | bytes, status: int = 200, headers: dict[str, str] | None = None
) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(body=data, status=status, headers=headers)

    return handler


class Node:
    """Containers that run on loopback, and the resources of a Raspberry Pi 5 in front of them."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http
        self.services: dict[str, Service] = {}
        self.servers: list[TestServer] = []
        self.timeout = 30.0

    async def add(self, id: str, handler: Handler | None = None, **config: Any) -> Service:
        """A ready container, with `handler` as its /service-resources."""
        server = TestServer(web.Application(), host="127.0.0.1")
        if handler is not None:
            server.app.router.add_get("/service-resources", handler)
        await server.start_server()
        self.servers.append(server)
        return self.add_at(id, str(server.make_url("")), **config)

    def add_at(self, id: str, url: str, **config: Any) -> Service:
        service = Service(Container(id=id, url=url, **config), managed=False)
        service.set_ready()
        self.services[id] = service
        return service

    @property
    def resources(self) -> Resources:
        hardware = Hardware(root_of("raspberry-pi-5"), architecture="aarch64", timeout=30)
        return Resources(self.services, hardware, self.http, MAX_BYTES, timeout=self.timeout)

    async def all(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(encoder.encode(await self.resources.all()))
        return answer

    async def support(self, model_id: str) -> dict[str, Any]:
        answers = await self.resources.support(model_id)
        answer: dict[str, Any] = json.loads(encoder.encode(answers))
        return answer


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with HttpClient() as http:
        node = Node(http)
        yield node
        await asyncio.gather(*(server.close() for server in node.servers))


def is_host(hardware: Any) -> bool:
    return bool(hardware[0]["cpu_info"]["model"] == HOST_MODEL)


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def hang_in_the_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"service_id": "x"')
    return await hang(request)


async def never_end(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b'{"a": "' + b"x" * 65536)


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b'{"service_id": "x"}')
    assert request.transport is not None
    request.transport.abort()
    return response


SILENT: dict[str, Handler | None] = {
    "no route": None,
    "error": answering('{"supported": true}', 500),
    "no content": answering("", 204),
    "redirect": answering("{}", 302, {"location": "/elsewhere"}),
    "empty": answering(""),
    "HTML": answering("<html>{}</html>"),
    "list": answering("[]"),
    "text": answering('"supported"'),
    "null": answering("null"),
    "half": answering('{"supported": true'),
    "two": answering("{}{}"),
    "NaN": answering('{"supported": -NaN}'),
    "not UTF-8": answering(b'{"supported": true, "a": "\xff"}'),
    "UTF-16": answering('{"supported": true}'.encode("utf-16")),
    "deep": answering('{"a": ' + "[" * 20_000 + "]" * 20_000 + "}"),
    "huge": answering('{"a": "' + "x" * MAX_BYTES + '"}'),
    "endless": never_end,
    "broken off": break_off,
    "bad encoding": answering("{}", 200, {"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("why", SILENT)
async def test_the_configuration_answers_for_a_silent_container(node: Node, why: str) -> None:
    models = ["owner/name", Model(owner="o", name="m", files=["f.onnx"], ml_type="onnx")]
    await node.add("silent", SILENT[why], models=models, task=["text_generation"], type="ONNX")

    answer = (await node.all())["silent"]

    assert is_host(answer.pop("hardware_capabilities"))
    unset = {"repository": "", "storage": "", "version": ""}
    assert answer == {
        "service_id": "silent",
        "compute_capability": [
            {
                "id": "ml",
                "type": "ONNX",
                "task": ["text_generation"],
                "models": [
                    {"owner": "owner", "name": "name", "files": [], "ml_type": "", **unset},
                    {"owner": "o", "name": "m", "files": ["f.onnx"], "ml_type": "onnx", **unset},
                ],
                "cached_models": [],
            }
        ],
    }
    assert await node.support("huggingface/owner/name:a.gguf") == {"silent": {"supported": True}}
    refusal = (await node.support("owner/other"))["silent"]
    assert refusal["supported"] is False
    assert "declared" in refusal["error"]


@pytest.mark.parametrize("handler", [hang, hang_in_the_body])
async def test_a_container_that_hangs_is_not_waited_for(node: Node, handler: Handler) -> None:
    await node.add("hangs", handler, models=["owner/name"])
    node.timeout = 0.2

    assert (await node.all())["hangs"]["service_id"] == "hangs"
    assert await node.support("owner/name") == {"hangs": {"supported": True}}


@pytest.mark.parametrize("url", ["http://[::", "http://127.0.0.1:99999", "no url", "ftp://x"])
async def test_an_invalid_address_is_a_missing_answer(node: Node, url: str) -> None:
    node.add_at("wrong", url)

    assert (await node.all())["wrong"]["compute_capability"] == []


async def test_a_container_that_has_stopped(node: Node) -> None:
    node.add_at("gone", f"http://127.0.0.1:{free_port()}")

    assert (await node.all())["gone"]["compute_capability"] == []
    refusal = (await node.support("owner/name"))["gone"]
    assert refusal["supported"] is False
    assert refusal["error"]


OWN = """{"version": "0.1.0", "service_id": "own", "big": 123456789012345678901234567890,
    "compute_capability": [{"id": "ml", "anything": 1.0}], "hardware_capabilities": %s}"""


async def test_a_containers_own_answer_is_passed_on(node: Node) -> None:
    hardware = '[{"capability_id": "tee"}]'
    await node.add(
        "x", answering(OWN % hardware, 200, {"content-type": "text/plain"}), models=["a/b"]
    )

    assert (await node.all())["x"] == json.loads(OWN % hardware)


@pytest.mark.parametrize("hardware", ["[]", "null", "{}", "[ ]", '""'])
async def test_hardware_that_a_container_does_not_report_is_the_hosts(
    node: Node, hardware: str
) -> None:
    await node.add("x", answering(OWN % hardware))

    answer = (await node.all())["x"]

    assert is_host(answer.pop("hardware_capabilities"))
    own = json.loads(OWN % hardware)
    del own["hardware_capabilities"]
    assert answer == own


async def test_hardware_that_a_container_leaves_out_is_the_hosts(node: Node) -> None:
    await node.add("x", answering('{"service_id": "own"}'))

    assert is_host((await node.all())["x"]["hardware_capabilities"])


@pytest.mark.parametrize(
    "answer",
    [
        '{"supported": true}',
        '{"supported":false,"error":"too large"}',
        '{ "supported" : true , "error": null, "more": [1] }',
    ],
)
async def test_a_containers_answer_about_a_model_is_used(node: Node, answer: str) -> None:
    await node.add("x", answering(answer), models=["owner/name"])

    assert await node.support("owner/name") == {"x": json.loads(answer)}


@pytest.mark.parametrize(
    "answer",
    ["{}", '{"supported": "yes"}', '{"supported": 1}', '{"supported": null}', '{"service_id": ""}'],
)
async def test_an_answer_of_the_wrong_shape_is_an_error(node: Node, answer: str) -> None:
    await node.add("x", answering(answer), models=["owner/name"])

    support = (await node.support("owner/name"))["x"]

    assert support["supported"] is False
    assert "supported" in support["error"]


async def test_the_model_id_arrives_unchanged(node: Node) -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.json_response({"supported": True})

    await node.add("x", handler)
    model_id = "hf/ö w/n+a%20m&e=#?:a,b"

    await node.support(model_id)
    await node.all()

    assert asked == [{"model_id": model_id}, {}]


async def test_only_containers_with_a_bearer_get_it(node: Node) -> None:
    seen = {}

    async def handler(request: web.Request) -> web.Response:
        seen[request.url.port] = request.headers.get("authorization")
        return web.json_response({"supported": True})

    secret = await node.add("secret", handler, bearer=Secret("s3cret"))
    plain = await node.add("plain", handler)

    await node.support("m")

    assert seen[int(secret.base_url.rpartition(":")[2])] == "Bearer s3cret"
    assert seen[int(plain.base_url.rpartition(":")[2])] is None


async def test_a_redirect_is_not_followed(node: Node) -> None:
    visits = []

    async def elsewhere(_: web.Request) -> web.Response:
        visits.append(1)
        return web.json_response({"supported": True})

    target = await node.add("elsewhere", elsewhere)
    await node.add("x", answering("{}", 307, {"location": f"{target.base_url}/service-resources"}))
    del node.services["elsewhere"]

    assert (await node.support("m"))["x"]["supported"] is False
    assert not visits


async def test_only_containers_that_are_ready_are_requested_and_shown(node: Node) -> None:
    await node.add("ready", answering('{"supported": true}'))
    (await node.add("starting")).set_starting("its image is pulled")
    (await node.add("failed")).set_failed("it crashed")

    assert list(await node.all()) == ["ready"]
    assert list(await node.support("m")) == ["ready"]


async def test_no_container_at_all(node: Node) -> None:
    assert await node.all() == {}
    assert await node.support("m") == {}


async def test_containers_are_requested_in_parallel_within_the_limit(node: Node) -> None:
    now, highest = 0, 0
    full = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal now, highest
        now += 1
        highest = max(now, highest)
        if now == MAX_PARALLEL:
            full.set()
        await asyncio.wait_for(full.wait(), 30)
        now -= 1
        return web.json_response({"supported": True})

    service = await node.add("0", handler)
    for number in range(1, MAX_PARALLEL + 4):
        node.add_at(str(number), service.base_url)

    answers = await node.support("m")

    assert list(answers) == [str(number) for number in range(MAX_PARALLEL + 4)]
    assert highest == MAX_PARALLEL


async def test_a_container_that_gets_no_slot_is_answered_by_its_configuration(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infernet_edge.containers.resources.MAX_WAIT", 0.3)
    service = await node.add("0", hang, models=["owner/name"])
    for number in range(1, MAX_PARALLEL + 2):
        node.add_at(str(number), service.base_url, models=["owner/name"])

    answers = await node.support("owner/name")

    assert len(answers) == MAX_PARALLEL + 2
    assert all(answer == {"supported": True} for answer in answers.values())


async def test_the_models_that_a_server_lists(node: Node) -> None:
    """Their names are those of Ollama, vLLM and llama.cpp."""
    names = ("gemma3:270m", "Qwen/Qwen3-0.6B", "/models/a.gguf")
    async with serving(OpenAIServer(*names)) as url:
        node.add_at("llm", url, protocol="openai", task=["text_generation"])
        answer = (await node.all())["llm"]
        (capability,) = answer["compute_capability"]
        assert [(each["owner"], each["name"]) for each in capability["models"]] == [
            ("", "gemma3:270m"),
            ("Qwen", "Qwen3-0.6B"),
            ("", "/models/a.gguf"),
        ]
        assert capability["task"] == ["text_generation"]
        assert is_host(answer["hardware_capabilities"])
        for name in (*names, "Qwen3-0.6B", "huggingface/Qwen/Qwen3-0.6B"):
            assert (await node.support(name))["llm"] == {"supported": True}, name
        for name in ("gemma3", "other/Qwen3-0.6B"):
            assert (await node.support(name))["llm"]["supported"] is False, name
    # It sleeps, or is busy: its last answer counts.
    assert (await node.support("gemma3:270m"))["llm"] == {"supported": True}
    assert len((await node.all())["llm"]["compute_capability"][0]["models"]) == 3


@pytest.mark.parametrize("protocol", ["http", "openai"])
async def test_servers_of_other_protocols_are_not_asked_for_infernets_resources(
    node: Node, protocol: str
) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        raise AssertionError("it was asked")

    await node.add("llm", refuse, protocol=protocol, models=["owner/name"])
    (capability,) = (await node.all())["llm"]["compute_capability"]
    assert [each["name"] for each in capability["models"]] == ["name"]
    assert (await node.support("owner/name"))["llm"] == {"supported": True}
    assert (await node.support("other"))["llm"]["supported"] is False


async def test_one_that_sleeps_has_its_last_answer(node: Node) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.query.get("model_id", ""))
        if model_id := request.query.get("model_id"):
            return web.json_response({"supported": model_id == "org/known"})
        return web.json_response({"service_id": "its own", "compute_capability": []})

    service = await node.add("a", handler, models=["org/declared"])
    other = await node.add("b", handler, models=["org/declared"])
    service.may_sleep = other.may_sleep = True
    resources = node.resources

    async def now(model_id: str = "") -> dict[str, Any]:
        found = await (resources.support(model_id) if model_id else resources.all())
        return dict(json.loads(encoder.encode(found)))

    other.set_asleep("no job needs it")
    assert (await now())["a"]["service_id"] == "its own"
    assert (await now("org/known"))["a"] == {"supported": True}
    asked.clear()
    service.set_asleep("no job needs it")
    assert (await now())["a"]["service_id"] == "its own"
    assert (await now())["a"]["hardware_capabilities"]
    assert (await now("org/known"))["a"] == {"supported": True}
    assert (await now("org/declared"))["a"] == {"supported": True}
    assert not (await now("org/other"))["a"]["supported"]
    # Before its first answer, the configuration counts.
    (capability,) = (await now())["b"]["compute_capability"]
    assert capability["models"][0]["name"] == "declared"
    assert (await now("org/declared"))["b"] == {"supported": True}
    # One that is being started counts too; one that failed does not.
    other.is_waking = True
    other.set_starting("for a job")
    assert (await now()).keys() == {"a", "b"}
    other.set_failed("it cannot start")
    assert (await now()).keys() == {"a"}
    assert asked == [], "nothing that sleeps is asked"
