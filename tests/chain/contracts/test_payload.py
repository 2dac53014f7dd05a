"""What becomes of a container's answer."""

from __future__ import annotations

import msgspec
import pytest
from eth_abi.abi import decode, encode
from msgspec import Raw

from infernet_edge.chain.contracts.payload import EMPTY, BadPayload, Payload, pack
from tests.support.depth import usual_recursion_limit

FULL = (
    b'{"raw_input": "01", "processed_input": null, "raw_output": "0203", "processed_output": "",'
    b' "proof": "ff"}'
)


def test_five_keys_are_packed() -> None:
    packed = pack(FULL)
    assert decode(["bytes", "bytes"], packed.input) == (b"\x01", b"")
    assert decode(["bytes", "bytes"], packed.output) == (b"\x02\x03", b"")
    assert packed.proof == b"\xff"
    assert pack(Raw(FULL)) == packed


def test_five_nulls_are_packed_as_nothing() -> None:
    keys = ("raw_input", "processed_input", "raw_output", "processed_output", "proof")
    answer = "{" + ",".join(f'"{key}": null' for key in keys) + "}"
    nothing = encode(["bytes", "bytes"], [b"", b""])
    assert pack(answer.encode()) == Payload(nothing, nothing, b"")


@pytest.mark.parametrize("wrong", [b'"0"', b'"xy"', b"1", b'["01"]', b"false"])
def test_parts_that_are_no_hex(wrong: bytes) -> None:
    with pytest.raises(BadPayload, match="raw_output is neither null nor pairs of hex digits"):
        pack(FULL.replace(b'"0203"', wrong))


def test_hex_with_0x_is_taken() -> None:
    assert pack(FULL.replace(b'"ff"', b'"0xff"')).proof == b"\xff"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'{"output": ""}', "{'output': ''}"),
        (b'{"a": [1, 2.50, 1e3, true, null], "b": {}}',
         "{'a': [1, 2.5, 1000.0, True, None], 'b': {}}"),
        ('{"it\'s": "\\u00e9€\\n"}'.encode(), "{\"it's\": 'é€\\n'}"),
        (b'{"big": 115792089237316195423570985008687907853269984665640564039457584007913129639935}',
         "{'big': 115792089237316195423570985008687907853269984665640564039457584007913129639935}"),
        (b'{"tiny": 1e-7, "huge": 1e400, "nan": NaN, "zero": -0.0}',
         "{'tiny': 1e-07, 'huge': inf, 'nan': nan, 'zero': -0.0}"),
        (b'{"a": 1, "b": 2, "a": 3}', "{'a': 3, 'b': 2}"),
        (b'{"half": "\\ud800"}', "{'half': '\\ud800'}"),
        (b'{"code": "200", "x": 1}', "{'code': '200', 'x': 1}"),
        (b'{"code": 200}', "{'code': 200}"),
        (b'{"code": null}', "{'code': None}"),
        (b'{"raw_input": "01", "proof": null}', "{'raw_input': '01', 'proof': None}"),
        (FULL[:-1] + b', "more": 1}', str({"raw_input": "01", "processed_input": None,
         "raw_output": "0203", "processed_output": "", "proof": "ff", "more": 1})),
        (b"[1]", "[1]"),
        (b'"words"', "words"),
        (b"null", "None"),
    ],
)  # fmt: skip
def test_all_else_is_delivered_as_python_prints_it(answer: bytes, text: str) -> None:
    assert pack(answer) == Payload(b"", encode(["string"], [text]), b"")


def test_known_bytes() -> None:
    expected = "20".rjust(64, "0") + "e".rjust(64, "0") + b"{'output': ''}".hex().ljust(64, "0")
    assert pack(b'{"output": ""}').output.hex() == expected
    assert Payload(b"", bytes(32), b"") == EMPTY


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"code": "400", "name": "Bad Request", "description": "no prompt"}', "400: no prompt"),
        (b'{"code": "500", "name": "Oops"}', "500: Oops"),
        (b'{"code": 418}', "418: no reason given"),
        (b'{"code": ""}', "code : no reason"),
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b'"\\ud800"', "surrogate"),
    ],
)
def test_what_cannot_be_delivered(answer: bytes, message: str) -> None:
    with pytest.raises(BadPayload, match=message):
        pack(answer)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def deepest() -> int:
    """How deep JSON may be nested here; that depends on Python's version."""
    read, refused = 1, 100_000
    while refused - read > 1:
        depth = (read + refused) // 2
        try:
            msgspec.json.decode(nested(depth))
            read = depth
        except RecursionError:
            refused = depth
    return read


@pytest.mark.parametrize("beyond", [0, 1, 100_000])  # too deep for str(), too deep for JSON
def test_answers_that_are_nested_too_deeply(beyond: int) -> None:
    with usual_recursion_limit():
        depth = deepest() + beyond
        with pytest.raises(BadPayload, match="nested too deeply"):
            pack(nested(depth))


def test_long_words_are_shortened() -> None:
    with pytest.raises(BadPayload) as caught:
        pack(b'{"code": "400", "description": "' + b"x" * 10**6 + b'"}')
    assert len(str(caught.value)) == 4096
