"""The compiled contracts of tests/contracts, and what their calls, events and reverts look like.

A contract's JSON ABI is read from its artefact; "entries" are those of the ABI, see
https://docs.soliditylang.org/en/latest/abi-spec.html#json
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

ARTIFACTS = Path(__file__).parents[1] / "contracts/artifacts"


@functools.cache
def artifact(name: str) -> dict[str, Any]:
    """Return the compiled contract of tests/contracts: its "abi" and "bytecode"."""
    found: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return found


def abi_type(parameter: dict[str, Any]) -> str:
    """Return a parameter's type as in signatures: structs written out."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    parts = ",".join(abi_type(part) for part in parameter["components"])
    return f"({parts}){kind.removeprefix('tuple')}"


def signature(entry: dict[str, Any]) -> str:
    """Return the signature of a function, event or error, such as "allow(address,bool)"."""
    return f"{entry['name']}({','.join(abi_type(part) for part in entry['inputs'])})"


def selector(entry: dict[str, Any]) -> bytes:
    """Return the four bytes by which a function or an error is known."""
    return keccak(text=signature(entry))[:4]


@functools.cache
def _errors() -> dict[bytes, dict[str, Any]]:
    """Return all errors of the test contracts, and the language's own, by selector."""
    text = {"name": "Error", "inputs": [{"type": "string"}]}
    panic = {"name": "Panic", "inputs": [{"type": "uint256"}]}
    entries = [text, panic]
    for path in ARTIFACTS.glob("*.json"):
        entries += [entry for entry in artifact(path.stem)["abi"] if entry["type"] == "error"]
    return {selector(entry): entry for entry in entries}


def revert_reason(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Return the name and the arguments of an error; ("", ()) of empty data."""
    if not data:
        return "", ()
    entry = _errors().get(data[:4])
    if entry is None:
        return data[:4].hex(), ()
    return str(entry["name"]), decode([abi_type(part) for part in entry["inputs"]], data[4:])


def readable(parameter: dict[str, Any], value: Any) -> Any:
    """Return a decoded value with checksummed addresses, and structs as dicts."""
    kind = str(parameter["type"])
    if kind.endswith("[]"):
        element = parameter | {"type": kind[:-2]}
        return [readable(element, item) for item in value]
    if kind == "tuple":
        parts = zip(parameter["components"], value, strict=True)
        return {part["name"]: readable(part, item) for part, item in parts}
    return to_checksum_address(value) if kind == "address" else value


def encode_arguments(parameters: list[dict[str, Any]], arguments: Sequence[Any]) -> bytes:
    """Return arguments as a call carries them; structs are tuples or dicts."""
    plain = [_plain(part, value) for part, value in zip(parameters, arguments, strict=True)]
    return encode([abi_type(part) for part in parameters], plain)


def _plain(parameter: dict[str, Any], value: Any) -> Any:
    """Return an argument with its dicts as tuples in the order of the struct."""
    if parameter["type"] == "tuple" and isinstance(value, dict):
        return tuple(_plain(part, value[part["name"]]) for part in parameter["components"])
    return value


def event_arguments(entry: dict[str, Any], log: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an event by their names."""

    def values(parameters: list[dict[str, Any]], data: bytes) -> dict[str, Any]:
        decoded = decode([abi_type(part) for part in parameters], data)
        pairs = zip(parameters, decoded, strict=True)
        return {part["name"]: readable(part, value) for part, value in pairs}

    indexed = [part for part in entry["inputs"] if part["indexed"]]
    topics = bytes.fromhex("".join(topic[2:] for topic in log["topics"][1:]))
    rest = [part for part in entry["inputs"] if not part["indexed"]]
    return values(indexed, topics) | values(rest, bytes.fromhex(log["data"][2:]))


class Reverted(Exception):
    """A contract reverted; `name` is that of its error and `arguments` are the error's."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.name, self.arguments = revert_reason(data)
        super().__init__(f"{self.name}{self.arguments}")


@contextlib.contextmanager
def refusal(name: str, *arguments: Any) -> Iterator[None]:
    """Expect that a contract reverts with this error ("": without data) and arguments."""
    with pytest.raises(Reverted) as caught:
        yield
    assert caught.value.name == name
    assert caught.value.arguments == arguments
