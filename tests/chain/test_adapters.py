"""Contracts whose answers come from model servers of other kinds, on a real EVM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from eth_abi.abi import decode, encode

from tests.support.asking import call_back, received, subscribe
from tests.support.delegated import request_v0, request_v1
from tests.support.evm import ALICE, NODE, V0, V1, deliveries
from tests.support.onchain import on_chain, settled
from tests.support.openai_server import OpenAIServer
from tests.support.serving import Echo, serving

CHAT = {"messages": [{"role": "user", "content": "héllo"}], "temperature": 0}


class Upper(Echo):
    """A service of its own kind: PUT /upper?lang=en, {"text": …} or a text, to {"out": {…}}."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(status=404)
        assert (request.method, request.path_qs) == ("PUT", "/upper?lang=en")
        asked: Any = await request.json()
        self.calls.append({"data": asked})
        text = asked["text"] if isinstance(asked, dict) else asked
        if text == "no":
            return web.json_response({"detail": "not this one"}, status=422)
        return web.json_response({"out": {"text": text.upper()}})


UPPER = {
    "protocol": "http",
    "path": "/upper",
    "method": "PUT",
    "query": {"lang": "en"},
    "result": "/out/text",
}


def outputs(found: list[dict[str, Any]]) -> list[str]:
    """The texts of raw outputs, which contracts get as the ABI's encoding of bytes."""
    return [text_of(each["output"]) for each in found]


def text_of(output: bytes) -> str:
    """The text in what a contract receives as its output."""
    raw, _ = decode(["bytes", "bytes"], output)
    return bytes(raw).decode()


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("héllo".encode(), "héllo"),
        (json.dumps({"text": "héllo"}).encode(), {"text": "héllo"}),
        (encode(["string"], ["héllo"]), "héllo"),
        (encode(["string"], ['{"text": "héllo"}']), {"text": "héllo"}),
    ],
    ids=["text", "JSON", "ABI", "JSON in ABI"],
)
async def test_a_subscriptions_input_through_http(
    tmp_path: Path, v1: V1, given: bytes, asked: Any
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    upper = Upper()
    async with on_chain(tmp_path, v1=v1, echo=upper, container=UPPER) as (node, _):
        call_back(v1, consumer, input=given)
        assert outputs(await received(consumer, 1)) == ["HÉLLO"]
        assert (await settled(node))["state"] == "delivered"
    assert [call["data"] for call in upper.calls] == [asked]


async def test_a_subscriptions_input_through_openai(tmp_path: Path, v1: V1) -> None:
    consumer, server = v1.deploy("CallbackConsumer"), OpenAIServer("owner/small")
    async with serving(server) as url:
        container = {"url": url, "protocol": "openai", "result": "/choices/0/message/content"}
        async with on_chain(tmp_path, v1=v1, container=container):
            call_back(v1, consumer, input=encode(["string"], ["héllo"]))
            call_back(v1, consumer, input=json.dumps(CHAT).encode())
            assert outputs(await received(consumer, 2)) == ["héllo", "héllo"]
    asked = sorted((json.loads(body) for _, body in server.asked), key=len)
    message = {"role": "user", "content": "héllo"}
    assert asked == [
        {"model": "owner/small", "messages": [message]},
        {"model": "owner/small", **CHAT},
    ]


async def test_a_whole_answer_is_delivered_as_its_json(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("CallbackConsumer")
    container = {**UPPER, "result": ""}
    async with on_chain(tmp_path, v1=v1, echo=Upper(), container=container):
        call_back(v1, consumer, input=b"a")
        (output,) = outputs(await received(consumer, 1))
        assert json.loads(output) == {"out": {"text": "A"}}


async def test_a_chain_of_both(tmp_path: Path, v1: V1) -> None:
    consumer, server = v1.deploy("CallbackConsumer"), OpenAIServer("owner/small")
    async with serving(server) as url:
        llm = {"id": "llm", "url": url, "protocol": "openai"}
        others = [{**llm, "result": "/choices/0/message/content"}]
        async with on_chain(tmp_path, v1=v1, echo=Upper(), container=UPPER, others=others):
            call_back(v1, consumer, "echo,llm", input="héllo".encode())
            assert outputs(await received(consumer, 1)) == ["HÉLLO"]
    assert server.request["messages"] == [{"role": "user", "content": "HÉLLO"}]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"\xff\x00", "input is not text in UTF-8"),
        (b"no", "not this one"),
    ],
)
async def test_a_failure_is_the_deliverys(
    tmp_path: Path, v1: V1, given: bytes, reason: str
) -> None:
    """Nothing is delivered, so that nothing is paid for it."""
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1, echo=Upper(), container=UPPER) as (node, _):
        call_back(v1, consumer, input=given)
        found = await settled(node)
        assert found["state"] == "failed"
        assert reason in found["reason"]
        assert deliveries(consumer) == []


async def test_each_interval_of_a_recurring_subscription(tmp_path: Path, v1: V1) -> None:
    """Its input is what the contract gives for the interval."""
    consumer = v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1, echo=Upper(), container=UPPER) as (node, _):
        subscribe(v1, consumer, frequency=2, period=60)
        for number, word in enumerate(("first", "second"), 1):
            consumer.send("setInput", word.encode(), False)
            v1.anvil.increase_time(60)
            v1.anvil.mine()
            found = await settled(node, number)
            assert (found["state"], found["reason"]) == ("delivered", "")
    assert outputs(deliveries(consumer)) == ["FIRST", "SECOND"]


async def test_a_delegated_request_of_sdk_1(tmp_path: Path, v1: V1) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    async with on_chain(tmp_path, v1=v1, echo=Upper(), container=UPPER) as (node, _):
        request = request_v1(v1, consumer, data={"text": "héllo"})
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        assert outputs(deliveries(consumer)) == ["HÉLLO"]


async def test_a_delegated_request_of_sdk_0_1(tmp_path: Path, v0: V0) -> None:
    v0.activate(NODE)
    consumer = v0.consumer()
    async with on_chain(tmp_path, v0=v0, echo=Upper(), container=UPPER) as (node, _):
        request = request_v0(v0, consumer, data={"text": "héllo"})
        assert (await node.post("/api/jobs", request.body)).status == 200
        assert (await settled(node))["state"] == "delivered"
        assert outputs(deliveries(consumer)) == ["HÉLLO"]
