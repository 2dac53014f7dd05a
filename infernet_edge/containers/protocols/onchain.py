"""What contracts give to, and get from, servers that know nothing of Infernet.

A subscription's input is bytes: a text in UTF-8, or the ABI's encoding of one `string`, which is
what contracts make with `abi.encode(text)`. An output is delivered as `raw_output`, the bytes of
its text; an object with the five keys of Infernet's container interface stays as it is.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from infernet_edge.containers.answers.failures import ContainerFailure

_KEYS: Final = frozenset(
    ("raw_input", "processed_input", "raw_output", "processed_output", "proof")
)
_MAX_PARTS: Final = 2**20  # bytes of an output that may have these keys; no delivery is longer
_WORD: Final = 32  # bytes of a word of the ABI


def input_text(data: bytes) -> bytes:
    """The text of a subscription's input; `data` is JSON text, hex digits in quotes.

    Raises ContainerFailure when it is no text.
    """
    try:
        content = bytes.fromhex(msgspec.json.decode(data, type=str))
        content = _abi_string(content)
        content.decode()
    except (msgspec.DecodeError, ValueError):
        raise ContainerFailure(
            "The subscription's input is not text in UTF-8, or the ABI's encoding of a string,"
            " which the container's protocol needs"
        ) from None
    return content


def payload(output: bytes | bytearray) -> bytes:
    """The answer to deliver for an output, JSON text: in the form of Infernet's containers.

    The bytes of a text are those in its quotes; all else is delivered as JSON text.
    """
    text = output.strip()
    is_object = text.startswith(b"{") and len(text) <= _MAX_PARTS
    if is_object and msgspec.json.decode(text, type=dict[str, Raw]).keys() == _KEYS:
        return bytes(text)
    if text.startswith(b'"'):
        text = msgspec.json.decode(text, type=str).encode()
    return (
        b'{"raw_input":null,"processed_input":null,"raw_output":"%b","processed_output":null,'
        b'"proof":null}' % text.hex().encode()
    )


def _abi_string(content: bytes) -> bytes:
    """The string within its ABI encoding (offset, length, padded bytes); else all of it."""
    start = 2 * _WORD
    if len(content) < start or len(content) % _WORD:
        return content
    offset, size = (int.from_bytes(content[at : at + _WORD]) for at in (0, _WORD))
    padded = start + size + -size % _WORD
    if offset != _WORD or padded != len(content) or any(content[start + size :]):
        return content
    return content[start : start + size]
