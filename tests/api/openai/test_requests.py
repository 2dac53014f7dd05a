"""The request is passed on as it was written, but for its model."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from infernet_edge.api.openai.paths import CHAT, COMPLETIONS, EMBEDDINGS
from infernet_edge.api.openai.requests import job_of, read_request, with_model
from infernet_edge.errors import BadRequest


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"n/\xc3\xbc"}'),
        (b' {\n"model" : "a" , "x":1.50}\r\n', b' {\n"model" : "n/\xc3\xbc", "x":1.50}\r\n'),
        (b'{"x":{"model":"a"},"model":"a"}', b'{"x":{"model":"a"},"model":"n/\xc3\xbc"}'),
        (
            b'{"x":"\\"model\\":\\"a\\"","model":"a"}',
            b'{"x":"\\"model\\":\\"a\\"","model":"n/\xc3\xbc"}',
        ),
        (b'{"model":"a","mod\\u0065l":"b"}', b'{"model":"n/\xc3\xbc","mod\\u0065l":"n/\xc3\xbc"}'),
        (b"{}", b"{}"),
        (b"{ }", b"{ }"),
    ],
)
def test_another_model(kind: Any, body: bytes, expected: bytes) -> None:
    assert bytes(with_model(kind(body), "n/ü")) == expected


def test_another_model_in_any_object() -> None:
    chance = random.Random(7)

    def value(depth: int) -> Any:
        if depth and chance.random() < 0.5:
            keys = ["model", "mödel", "a b", '"', "\\", ""]
            return {chance.choice(keys): value(depth - 1) for _ in range(chance.randrange(5))}
        return chance.choice([None, True, -1.5e10, "model", 'x"y\\', [], [{"model": 1}], "ü😀"])

    for _ in range(500):
        body = {**{f"k{n}": value(3) for n in range(chance.randrange(4))}, "model": "old"}
        text = json.dumps(body, indent=chance.choice([None, 1]), ensure_ascii=chance.random() < 0.5)
        assert json.loads(with_model(text.encode(), "new")) == {**body, "model": "new"}


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_model_that_is_named_often(kind: Any) -> None:
    """What stands behind the names is not moved for each of them."""
    names, rest = b'"model":"a/b",' * 9000, b'"x":"' + b"y" * 8 * 2**20 + b'"}'
    body = kind(b"{" + names + rest)
    begin = time.thread_time()
    changed = with_model(body, "bb")
    assert time.thread_time() - begin < 2
    assert changed == b"{" + b'"model":"bb",' * 9000 + rest


def test_too_many_keys() -> None:
    body = json.dumps({f"k{number}": 0 for number in range(10_001)}).encode()
    with pytest.raises(BadRequest, match="at most 10000 keys"):
        with_model(body, "new")


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_the_job(kind: Any) -> None:
    body = kind(b' {"a": 1.50} ')
    job = bytes(job_of("box", body, 30.0))
    assert job == b'{"containers":["box"],"options":{"deadline":30},"data": {"a": 1.50} }'
    assert json.loads(job_of("box", kind(b"{}"), None)) == {"containers": ["box"], "data": {}}
    assert json.loads(job_of("box", kind(b"{}"), 1e-7))["options"] == {"deadline": 1e-7}


@pytest.mark.parametrize(
    ("value", "number"),
    [("a", 1), (["a"], 1), (["a", "b,c"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_the_number_of_inputs(value: Any, number: int) -> None:
    body = json.dumps({"model": "m", "input": value}).encode()
    assert read_request(EMBEDDINGS, body).inputs == number
    many = json.dumps({"model": "m", "input": ["a"] * 10_001}).encode()
    assert read_request(EMBEDDINGS, many).inputs == 0


def test_what_matters_is_read() -> None:
    body = (
        b'{"model":"m","prompt":["a"],"stream":true,"stream_options":{"include_usage":true},"n":2}'
    )
    asked = read_request(COMPLETIONS, body)
    assert (asked.streams, asked.with_usage, asked.choices) == (True, True, 2)
    asked = read_request(EMBEDDINGS, b'{"model":"m","input":"a","stream":true}')
    assert not asked.streams
    nulls = b'{"model":"m","messages":[{"role":"u"}],"stream":null,"stream_options":null,"n":null}'
    assert read_request(CHAT, nulls).choices == 1


def test_messages_beyond_those_that_are_checked() -> None:
    """One by one they would need more memory than they have bytes."""
    messages = ",".join(["{}"] * 20_001)
    body = b'{"model":"m","messages":[%b]}' % messages.encode()
    assert read_request(CHAT, body).model == "m"
    with pytest.raises(BadRequest, match=r"messages\[0\].role"):
        read_request(CHAT, b'{"model":"m","messages":[{}]}')
