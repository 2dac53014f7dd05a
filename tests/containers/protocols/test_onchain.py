from __future__ import annotations

import json

import pytest
from eth_abi.abi import encode

from infernet_edge.chain.contracts.payload import pack
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols.onchain import input_text, payload


def hex_of(content: bytes) -> bytes:
    return json.dumps(content.hex()).encode()


@pytest.mark.parametrize("text", ["", "a", "x" * 31, "x" * 32, "x" * 33, "é" * 100])
def test_the_abi_encoding_of_a_string_and_plain_bytes(text: str) -> None:
    assert input_text(hex_of(encode(["string"], [text]))) == text.encode()
    assert input_text(hex_of(text.encode())) == text.encode()


@pytest.mark.parametrize(
    "content", [b"\xff", bytes(31) + b"\x20" + b"\xff" * 32, encode(["uint256"], [2**255])]
)
def test_what_is_no_text(content: bytes) -> None:
    with pytest.raises(ContainerFailure, match="not text in UTF-8"):
        input_text(hex_of(content))


@pytest.mark.parametrize("data", [b'"0x00"', b'"abc"', b"{}", b"5"])
def test_what_is_not_hex_digits(data: bytes) -> None:
    with pytest.raises(ContainerFailure, match="not text in UTF-8"):
        input_text(data)


@pytest.mark.parametrize(
    ("output", "content"),
    [
        (b'"h\\u00e9"', "hé".encode()),
        (b' {"a": 1.10} ', b'{"a": 1.10}'),
        (b"[%d]" % 2**256, b"[%d]" % 2**256),
        (b"null", b"null"),
        (b'{"code": 500}', b'{"code": 500}'),
    ],
)
def test_an_output_is_delivered_as_the_bytes_of_its_text(output: bytes, content: bytes) -> None:
    packed = pack(payload(output))
    assert packed.output == encode(["bytes", "bytes"], [content, b""])
    assert packed.input == encode(["bytes", "bytes"], [b"", b""])
    assert packed.proof == b""


def test_the_five_parts_of_infernet_stay() -> None:
    parts = dict.fromkeys(("raw_input", "processed_input", "processed_output", "proof"), None)
    answer = json.dumps({**parts, "raw_output": "00ff"}).encode()
    assert payload(answer) == answer
    assert pack(payload(answer)).output == encode(["bytes", "bytes"], [b"\x00\xff", b""])
