"""One part of a JSON text, by a JSON pointer (RFC 6901), without decoding the rest."""

from __future__ import annotations

import functools
import re
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from infernet_edge.containers.answers.failures import ContainerFailure

_SHOWN: Final = 200  # bytes of an answer without that part that are shown
_WHITE_SPACE: Final = 4096  # bytes in which a text begins; msgspec's parts begin at once
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_UNUSUAL: Final = re.compile(r'[\\"\x00-\x1f]')


def part_of(text: bytes | bytearray, pointer: str) -> bytes:
    """The JSON text at a pointer such as "/choices/0/text"; the text itself has to be valid.

    Raises ContainerFailure when there is nothing.
    """
    found: Raw | bytes | bytearray = text
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        value = _step(found, name)
        if not isinstance(value, Raw):
            shown = bytes(text[:_SHOWN]).decode("utf-8", "replace")
            raise ContainerFailure(
                f"Container's answer has nothing at {pointer} (containers[].result): {shown}"
            )
        found = value
    return bytes(found)


def _step(text: Raw | bytes | bytearray, name: str) -> object:
    """What is in an object or a list under a name; UNSET for nothing."""
    first = bytes(memoryview(text)[:_WHITE_SPACE]).lstrip()[:1]
    if first == b"{" and _UNUSUAL.search(name):  # which a Struct cannot have
        return msgspec.json.decode(text, type=dict[str, Raw]).get(name, UNSET)
    if first == b"{":
        return getattr(_member(name).decode(text), "part", UNSET)
    if first == b"[" and _INDEX.fullmatch(name):
        return getattr(_item(int(name)).decode(text), "part", UNSET)
    return UNSET


@functools.lru_cache(maxsize=256)
def _member(name: str) -> msgspec.json.Decoder[object]:
    """Decodes one member of an object; the others are skipped, and need no memory."""
    fields = [("part", Raw | msgspec.UnsetType, UNSET)]
    return msgspec.json.Decoder(msgspec.defstruct("Member", fields, rename={"part": name}))


@functools.lru_cache(maxsize=256)
def _item(number: int) -> msgspec.json.Decoder[object]:
    """Decodes one item of a list, and those before it; the others are skipped."""
    kind = Raw | msgspec.UnsetType
    fields = [(f"before_{position}", kind, UNSET) for position in range(number)]
    fields.append(("part", kind, UNSET))
    return msgspec.json.Decoder(msgspec.defstruct("Item", fields, array_like=True))
