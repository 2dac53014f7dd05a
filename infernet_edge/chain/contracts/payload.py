"""What is delivered on-chain of a container's answer."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from eth_abi.abi import encode
from msgspec import Raw

from infernet_edge.errors import InfernetEdgeError

_KEYS: Final = ("raw_input", "processed_input", "raw_output", "processed_output", "proof")
# Bytes of a container's answer. Ethereum's nodes accept no transaction over 128 KiB (geth's
# txMaxSize); as JSON, with hex digits, that is several times as long.
_MAX_ANSWER_BYTES: Final = 2**20
_MAX_REASON: Final = 4096  # characters of a container's own reason that are kept


class BadPayload(InfernetEdgeError):
    """An answer that cannot be delivered; the text says what the container did wrong."""


class Payload(NamedTuple):
    """The arguments of a delivery that come from the container."""

    input: bytes
    output: bytes
    proof: bytes


EMPTY: Final = Payload(b"", bytes(32), b"")
"""What a delivery is simulated with before anything is computed."""


def pack(answer: bytes | bytearray | Raw) -> Payload:
    """Pack the JSON text of a container's answer.

    An object with exactly the five keys of Infernet's container interface is packed as bytes. All
    else is delivered as the text that Python's `str()` makes of it: nodes 1.x put that on chain,
    and redundant nodes have to agree to the byte. Hence the standard library's parser, which is the
    one that those nodes use: it decides how wide numbers, NaN or surrogates come out.

    Takes up to 20 ms of CPU per MB. Raises BadPayload; also when the answer says by its `code`
    that the container failed.
    """
    if len(memoryview(answer)) > _MAX_ANSWER_BYTES:
        raise BadPayload(
            f"Container's answer is larger than {_MAX_ANSWER_BYTES} bytes:"
            " no transaction can carry it"
        )
    try:
        parsed = json.loads(bytes(answer))
        if isinstance(parsed, dict):
            _refuse_failure(parsed)
            if parsed.keys() == set(_KEYS):
                return _pack_parts(parsed)
        return Payload(b"", encode(["string"], [str(parsed)]), b"")
    except UnicodeEncodeError:
        raise BadPayload("Container's answer is text with half a character, a surrogate") from None
    except RecursionError:
        raise BadPayload("Container's answer is nested too deeply") from None
    except ValueError as error:
        raise BadPayload(f"Container's answer is not JSON that can be delivered: {error}") from None


def _refuse_failure(answer: dict[str, Any]) -> None:
    """Some services send status 200 in HTTP and another one in the answer's `code`."""
    code = answer.get("code")
    if code is not None and str(code) != "200":
        said = answer.get("description") or answer.get("name") or "no reason given"
        raise BadPayload(f"Container answered code {code}: {said}"[:_MAX_REASON])


def _pack_parts(answer: dict[str, Any]) -> Payload:
    raw_input, processed_input, raw_output, processed_output, proof = (
        _part(key, answer[key]) for key in _KEYS
    )
    return Payload(
        encode(["bytes", "bytes"], [raw_input, processed_input]),
        encode(["bytes", "bytes"], [raw_output, processed_output]),
        proof,
    )


def _part(key: str, value: Any) -> bytes:
    """Hex digits; null is empty. (The interface has no 0x in front; some services send it.)"""
    if value is None:
        return b""
    if isinstance(value, str):
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            pass
    raise BadPayload(f"Container's answer: {key} is neither null nor pairs of hex digits")
