"""Servers with OpenAI's API behind the client of containers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infernet_edge.config.model import Container, Model
from infernet_edge.containers import client as client_module
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.protocols import openai
from infernet_edge.containers.protocols.call import ContainerInput, StoredInput
from infernet_edge.containers.service import Service
from infernet_edge.http_client.client import HttpClient
from infernet_edge.memory import unlimited
from tests.support.openai_server import OpenAIServer
from tests.support.serving import serving

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    async with HttpClient() as http:
        yield ServiceClient(http, 2**20)


def service(url: str, **settings: Any) -> Service:
    settings = {"protocol": "openai", "timeout": 5.0, **settings}
    return Service(Container(id="llm", url=url, **settings), managed=False)


def given(data: Any, source: int = 1, destination: int = 1) -> ContainerInput:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    return ContainerInput(content, source, destination, requires_proof=False)


def sent(data: Any, model: str = "", *, stream: bool = False, **settings: Any) -> tuple[str, bytes]:
    """The path and the body of a request for this input."""
    container = Container(id="llm", protocol="openai", **settings)
    made = openai.stream_request if stream else openai.request
    call = made(container, given(data), model)
    assert isinstance(call.body, bytes)
    return call.path, call.body


async def failure(client: ServiceClient, called: Service, data: Any) -> str:
    with pytest.raises(ContainerFailure) as failed:
        await client.call(called, given(data))
    return str(failed.value)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (CHAT, "/v1/chat/completions"),
        ({"prompt": "a"}, "/v1/completions"),
        ({"prompt": [1, 2]}, "/v1/completions"),
        ({"input": ["a", "b"]}, "/v1/embeddings"),
        ({"input": "a", **CHAT}, "/v1/chat/completions"),
    ],
)
def test_the_keys_choose_the_endpoint(data: Any, path: str) -> None:
    assert sent(data) == (path, json.dumps(data).encode())


def test_a_configured_path_comes_first() -> None:
    assert sent(CHAT, path="/v3/completions")[0] == "/v3/completions"
    assert sent({"query": "a", "documents": []}, path="/v1/rerank")[0] == "/v1/rerank"


@pytest.mark.parametrize("data", [{}, {"text": "a"}, [1], 5, None, True])
def test_what_is_no_request(data: Any) -> None:
    with pytest.raises(ContainerFailure, match='an object with "messages", "prompt" or "input"'):
        sent(data)


@pytest.mark.parametrize(
    ("settings", "request_"),
    [
        ({}, {"messages": [{"role": "user", "content": 'Hé "x"'}]}),
        ({"path": "/v1/chat/completions"}, {"messages": [{"role": "user", "content": 'Hé "x"'}]}),
        ({"path": "/v1/completions"}, {"prompt": 'Hé "x"'}),
        ({"path": "/v1/embeddings"}, {"input": 'Hé "x"'}),
    ],
)
def test_a_text_is_a_request_too(settings: dict[str, Any], request_: Any) -> None:
    """So the output of another container can be one."""
    path, body = sent('Hé "x"', "small", **settings)
    assert path == settings.get("path", "/v1/chat/completions")
    assert json.loads(body) == {"model": "small", **request_}


def test_a_missing_model_is_filled_in_and_numbers_keep_their_digits() -> None:
    data = b' { "prompt":"a", "seed": %d, "temperature": 0.10 } ' % 2**256
    path, body = sent(data, 'own"er/m')
    assert path == "/v1/completions"
    assert body == b'{"model":"own\\"er/m","prompt":"a", "seed": %d, "temperature": 0.10 } ' % (
        2**256
    )
    assert json.loads(body)["model"] == 'own"er/m'


@pytest.mark.parametrize("model", [None, ""])
def test_an_empty_model_is_replaced(model: Any) -> None:
    _, body = sent({"model": model, "prompt": "a", "seed": 2**256}, "small")
    assert json.loads(body) == {"model": "small", "prompt": "a", "seed": 2**256}
    assert body.count(b'"model"') == 1


def test_a_given_model_stays() -> None:
    data = {"model": "other", "prompt": "a"}
    assert sent(data, "small")[1] == json.dumps(data).encode()


@pytest.mark.parametrize("stream", [True, False, None, 0, "x"])
def test_stream_is_that_of_the_job(stream: Any) -> None:
    data = {"prompt": "a", "seed": 2**256, "stream": stream, "stream_options": {"x": 1}}
    _, body = sent(data, stream=True)
    assert json.loads(body) == {**data, "stream": True}
    assert body.count(b'"stream"') == 1
    waits = json.loads(sent(data)[1])
    assert waits.get("stream") in (None, False)
    if stream not in (None, False):
        assert "stream_options" not in waits


def test_stream_is_added() -> None:
    assert json.loads(sent({"prompt": "a"}, "m", stream=True)[1]) == {
        "model": "m",
        "stream": True,
        "prompt": "a",
    }
    assert json.loads(sent({}, "m", stream=True, path="/v1/responses")[1]) == {
        "model": "m",
        "stream": True,
    }
    assert sent({"input": "a"}, stream=True)[1] == b'{"input": "a"}'  # embeddings have no stream


def test_a_long_request_is_not_decoded_to_change_it() -> None:
    long = {"stream": True, "prompt": "x" * 2**20}
    assert sent(long, stream=True)[1] == json.dumps(long).encode()
    assert sent(long, "m", stream=True)[1].startswith(b'{"model":"m","stream": true')
    with pytest.raises(ContainerFailure, match="leave out stream"):
        sent(long)


@pytest.mark.parametrize(
    ("path", "models"),
    [
        ("", "/v1/models"),
        ("/v1/chat/completions", "/v1/models"),
        ("/v3/embeddings", "/v3/models"),
        ("/openai/v1/responses/", "/openai/v1/models"),
        ("/rerank", "/v1/models"),
    ],
)
def test_where_the_models_are_listed(path: str, models: str) -> None:
    assert openai.models_path(Container(id="x", path=path)) == models


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"error":{"message":"too long","type":"x","code":400}}', "too long"),
        ('{"error":"model not found"}', "model not found"),
        ('{"object":"error","message":"bad"}', "bad"),
        ('{"detail":"Not Found"}', "Not Found"),
        ('{"detail":[{"loc":["body"]}]}', '{"detail":[{"loc":["body"]}]}'),
        ('{"error":{"message":', '{"error":{"message":'),
        ('{"error":{"message":""}}', '{"error":{"message":""}}'),
        ("busy", "busy"),
        ("[1]", "[1]"),
    ],
)
def test_the_message_of_an_error(text: str, message: str) -> None:
    assert openai.error_text(text) == message


async def test_a_request_and_its_answer(client: ServiceClient) -> None:
    server = OpenAIServer()
    async with serving(server) as url:
        answer = json.loads(await client.call(service(url), given(CHAT)))
        assert answer["choices"][0]["message"]["content"] == "Hello"
        text = service(url, result="/choices/0/message/content")
        assert await client.call(text, given("Bye")) == b'"Bye"'
        vector = service(url, path="/v1/embeddings", result="/data/0/embedding")
        assert json.loads(await client.call(vector, given("Bye"))) == [0.5, 1.0]
    assert [path for path, _ in server.asked][-1] == "/v1/embeddings"


async def test_errors_of_the_server(client: ServiceClient) -> None:
    server = OpenAIServer()
    async with serving(server) as url:
        called = service(url)
        said = "the request exceeds the available context size"
        server.error = 400, {"error": {"message": said, "type": "exceed_context_size_error"}}
        assert await failure(client, called, CHAT) == said
        server.error = 200, {"error": {"message": "upstream failed"}}
        assert await failure(client, called, CHAT) == "upstream failed"
        server.error = 200, {"error": None, "choices": []}
        assert json.loads(await client.call(called, given(CHAT)))["choices"] == []
        server.error = 429, {"error": {"message": "busy"}}
        assert await failure(client, called, CHAT) == "busy"
        assert await failure(client, called, {"text": 1}) == (
            'The input is not a request: expected an object with "messages", "prompt" or "input",'
            " or a text"
        )


async def test_a_call_waits_while_the_server_loads_its_model(
    client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_RESEND_PAUSE", 0.01)
    server = OpenAIServer(loading=3)
    async with serving(server) as url:
        called = service(url, health_path="/health")
        called.set_ready()
        answer = await client.call(called, given({"prompt": "a"}))
        assert json.loads(answer)["choices"][0]["text"] == "a"
        assert len(server.asked) == 4
        server.loading = 2
        async with client.stream(called, given({"prompt": "a"}, 1, 2)) as stream:
            assert stream.content_type == "text/event-stream"
        assert (called.working_on, called.in_call, called.state) == (0, 0, "ready")


async def test_at_the_time_out_the_job_fails_with_what_the_server_says(
    client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_RESEND_PAUSE", 0.02)
    server = OpenAIServer(loading=10**6)
    async with serving(server) as url:
        reason = await failure(client, service(url, timeout=0.2), CHAT)
        assert reason == "Container is not ready: Loading model"
        assert 2 < len(server.asked) < 20


async def test_a_server_that_is_busy_is_not_loading(client: ServiceClient) -> None:
    server = OpenAIServer()
    server.error = 503, {"error": "server busy, please try again"}
    async with serving(server) as url:
        assert await failure(client, service(url), CHAT) == "server busy, please try again"
        assert len(server.asked) == 1


async def test_a_stored_input_is_reserved_while_it_is_sent(client: ServiceClient) -> None:
    server, memory = OpenAIServer(), unlimited().reserve("outputs")
    content = json.dumps({"prompt": "x" * 200_000}).encode()
    held: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        held.append(memory.size)
        yield content[:1000]
        yield content[1000:]

    data = StoredInput(len(content), pieces)
    async with serving(server) as url:
        called = service(url, models=["small"], result="/choices/0/text")
        stored = ContainerInput(data, 1, 1, requires_proof=False)
        output = await client.call(called, stored, memory)
        assert json.loads(output) == "x" * 200_000
        assert server.request["model"] == "small"
        assert held == [len(content)]
        assert len(output) <= memory.size < len(output) + 200_000 + 200
        before = memory.size
        async with client.stream(called, stored, None, memory) as stream:
            chunks = b"".join([chunk async for chunk in stream.chunks()])
            assert chunks.endswith(b"data: [DONE]\n\n")
        assert memory.size == before
    assert server.request["stream"] is True


@pytest.mark.parametrize(
    ("models", "name"),
    [(["owner/name", "b"], "owner/name"), ([Model(owner="o", name="n")], "o/n"), ([], "")],
)
def test_the_first_configured_model_is_the_default(models: list[str | Model], name: str) -> None:
    assert service("http://x", models=models).model == name


@pytest.mark.parametrize("text", ["Hello", '{"messages":[{"role":"user","content":"Hello"}]}'])
async def test_a_subscription_of_a_contract(client: ServiceClient, text: str) -> None:
    server = OpenAIServer()
    async with serving(server) as url:
        called = service(url, result="/choices/0/message/content")
        output = await client.call(called, given(text.encode().hex(), 0, 0))
    assert json.loads(output)["raw_output"] == b"Hello".hex()
