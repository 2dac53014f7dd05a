"""What containers answer becomes OpenAI's answers."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from infernet_edge.api.openai.answers import (
    Naming,
    embeddings_answer,
    events_of,
    text_answer,
)
from infernet_edge.api.openai.paths import CHAT, COMPLETIONS
from infernet_edge.containers.answers.failures import ContainerFailure

NAMING = Naming("job", "model", 1_700_000_000)


def texts(output: Any, path: str = CHAT) -> list[str]:
    text = output if isinstance(output, bytes) else json.dumps(output).encode()
    found = json.loads(text_answer(path, NAMING, text))
    assert [choice["index"] for choice in found["choices"]] == [*range(len(found["choices"]))]
    if path == COMPLETIONS:
        return [choice["text"] for choice in found["choices"]]
    return [choice["message"]["content"] for choice in found["choices"]]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Hello", ["Hello"]),
        ("", [""]),
        (None, [""]),
        (7, ["7"]),
        (True, ["true"]),
        (b' "Gr\\u00fc\xc3\x9fe" ', ["Grüße"]),
        ({"output": "a", "by": "x"}, ["a"]),
        ({"output": {"text": {"content": "deep"}}}, ["deep"]),
        ({"output": None, "text": "b"}, ["b"]),
        ({"message": {"role": "assistant", "content": "c"}, "done": True}, ["c"]),  # Ollama
        ([{"generated_text": "d"}, {"generated_text": "e"}], ["d", "e"]),  # transformers
        (["f", "g"], ["f", "g"]),
        ({"output": ["h", {"text": "i"}]}, ["h", "i"]),
        ([1, 2], ["[1, 2]"]),
        ([], ["[]"]),
        ({}, ["{}"]),
        ({"label": "cat"}, ['{"label": "cat"}']),
        ({"output": {"label": "cat"}}, ['{"label": "cat"}']),
        ({"output": {"output": {"output": {"output": {"output": 1}}}}}, ['{"output": 1}']),
        (["x"] * 129, [json.dumps(["x"] * 129)]),
    ],
)
def test_texts(output: Any, expected: list[str]) -> None:
    assert texts(output) == texts(output, COMPLETIONS) == expected


def test_an_answer_of_openai_stays_and_gets_what_is_missing() -> None:
    whole = b'{"id":"x","object":"o","created":1.50,"model":"m", "choices":[ ],"usage":{"n":1}}'
    assert text_answer(CHAT, NAMING, whole) == whole
    found = json.loads(text_answer(CHAT, NAMING, b'{ "id":"x","choices":[{"more":1}]}'))
    assert found == {
        "id": "x",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "model",
        "choices": [{"more": 1}],
    }


def test_usage_and_errors() -> None:
    found = json.loads(text_answer(CHAT, NAMING, b'{"text":"a","usage":{"total_tokens":1}}'))
    assert found["usage"] == {"total_tokens": 1}
    assert "usage" not in json.loads(text_answer(CHAT, NAMING, b'{"text":"a","usage":3}'))
    for output, text in {
        b'{"error":"broken"}': "broken",
        b'{"error":{"message":"too long"}}': "too long",
        b'{"error":{"code":7}}': '{"error":{"code":7}}',
    }.items():
        for path in (CHAT, COMPLETIONS):
            with pytest.raises(ContainerFailure) as caught:
                text_answer(path, NAMING, output)
            assert str(caught.value) == text
        with pytest.raises(ContainerFailure):
            embeddings_answer(NAMING, output, inputs=1, as_base64=False)
    assert texts({"error": None, "text": "a"}) == ["a"]


def test_choices_that_are_none() -> None:
    with pytest.raises(ContainerFailure, match="not a list of objects"):
        events_of(CHAT, NAMING, b'{"choices":[1]}', with_usage=False)
    (part, _) = events_of(CHAT, NAMING, b'{"choices":[{"message":3}]}', with_usage=False)
    assert json.loads(part[6:])["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("calls", [[1], [None], [{}, []], "none", {}, None])
def test_tool_calls_that_are_none(calls: Any) -> None:
    message = {"role": "assistant", "content": "a", "tool_calls": calls}
    output = json.dumps({"choices": [{"message": message}]}).encode()
    (part, _) = events_of(CHAT, NAMING, output, with_usage=False)
    assert json.loads(part[6:])["choices"][0]["delta"] == message


def vectors(output: Any, inputs: int = 2, *, as_base64: bool = False) -> list[Any]:
    text = json.dumps(output).encode()
    found = json.loads(embeddings_answer(NAMING, text, inputs=inputs, as_base64=as_base64))
    assert found["object"] == "list"
    assert set(found["usage"]) == {"prompt_tokens", "total_tokens"}
    return [each["embedding"] for each in found["data"]]


TWO = [[1, 2.5], [3, 4]]


@pytest.mark.parametrize(
    "output",
    [
        TWO,
        {"embeddings": TWO},
        {"output": TWO},
        {"result": {"vectors": TWO}},
        {"data": TWO},
        {"data": [{"embedding": each} for each in TWO]},
        [{"embedding": each} for each in TWO],
        {"output": {"data": [{"embedding": each} for each in TWO]}},
    ],
)
def test_vectors(output: Any) -> None:
    assert vectors(output) == TWO
    assert vectors(output, 0) == TWO


def test_one_vector() -> None:
    for output in ([1, 2], {"embedding": [1, 2]}, {"output": [[1, 2]]}):
        assert vectors(output, 1) == [[1, 2]]


def test_vectors_as_base64() -> None:
    found = vectors(TWO, as_base64=True)
    assert [struct.unpack("<2f", base64.b64decode(each)) for each in found] == [(1, 2.5), (3, 4)]


@pytest.mark.parametrize(
    "output",
    ["text", 7, None, {}, {"a": 1}, ["a", "b"], [["a"], [1]], [{"x": 1}], [[1], 2], TWO[:1]],
)
def test_what_is_no_vector(output: Any) -> None:
    with pytest.raises(ContainerFailure, match=r"(?i)embeddings"):
        vectors(output)
