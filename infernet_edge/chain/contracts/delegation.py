"""Delegated subscriptions: requests to the node, signed for their owner as EIP-712 says.

https://eips.ethereum.org/EIPS/eip-712
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec
from eth_account.messages import encode_typed_data
from eth_keys.datatypes import Signature as EllipticSignature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from msgspec import UNSET, Raw, Struct, UnsetType

from infernet_edge.chain.contracts.subscription import (
    Field,
    Generation,
    Subscription,
    SubscriptionV0,
    SubscriptionV1,
)
from infernet_edge.errors import BadRequest
from infernet_edge.jobs.contents import Buffer
from infernet_edge.validation import explain, words

# The order of the group of secp256k1: https://www.secg.org/sec2-v2.pdf, section 2.4.1
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ADDRESS: Final = re.compile(r"(0[xX])?[0-9a-fA-F]{40}")
_HASH: Final = re.compile(r"(0[xX])?[0-9a-fA-F]{64}")
_HEX: Final = re.compile(r"0x([0-9a-fA-F]{2})*")
_ONLY_V0: Final = ("container_id", "max_gas_price", "max_gas_limit")
_MAX_SHOWN: Final = 100  # characters of a wrong value that an error repeats

# Bytes of the subscription or signature: an input of 128 KiB, the limit of a transaction, as hex.
_MAX_SIGNED: Final = 320 * 2**10


class _Parts(Struct):
    """A request's three parts; everything else in it is skipped."""

    subscription: Raw | UnsetType = UNSET
    signature: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


_request_parts = msgspec.json.Decoder(_Parts)
_objects = msgspec.json.Decoder(dict[str, Raw])
_values = msgspec.json.Decoder()


class Signature(Struct, frozen=True):
    """An owner's signature; `expiry` in seconds since 1970, `v` 27 or 28 as contracts expect it."""

    nonce: int
    expiry: int
    v: int
    r: int
    s: int


class DelegatedRequest(Struct, frozen=True):
    """A DelegatedSubscriptionRequest; `data` is the JSON text for the first container.

    `signed` is the JSON of what was signed, and nothing else.
    """

    subscription: Subscription
    signature: Signature
    data: Buffer = b""
    signed: bytes = b""

    @property
    def generation(self) -> Generation:
        return self.subscription.generation


def parse_request(raw: Buffer | Raw) -> DelegatedRequest:
    """Read a request's JSON, which says by its shape of which generation it is.

    Raises BadRequest that names the field that is missing, of another type, or out of range.
    """
    parts = _parts_of(raw)
    if parts.data is UNSET:
        raise _unexpected("data", "an object", "nothing")
    if (found := _kind_of(parts.data)) != "object":
        raise _unexpected("data", "an object", words(found))
    return _read(parts, memoryview(parts.data))


def parse_signed(stored: bytes) -> DelegatedRequest:
    """Read what is stored of a request: its JSON without the data."""
    parts = _parts_of(stored)
    return _read(parts, b"" if parts.data is UNSET else bytes(parts.data))


def _parts_of(raw: Buffer | Raw) -> _Parts:
    try:
        parts = _request_parts.decode(raw)
    except msgspec.ValidationError as error:
        raise _unexpected("", "an object", explain(str(error)).found) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None
    for name, text in (("subscription", parts.subscription), ("signature", parts.signature)):
        if text is not UNSET and len(memoryview(text)) > _MAX_SIGNED:
            raise _unexpected(name, f"at most {_MAX_SIGNED} bytes", f"{len(memoryview(text))}")
    return parts


def _read(parts: _Parts, data: Buffer) -> DelegatedRequest:
    body = _Object(b"{}")
    for name, text in (("subscription", parts.subscription), ("signature", parts.signature)):
        if text is not UNSET:
            body.fields[name] = text
    subscription = body.nested("subscription")
    signature = body.nested("signature")
    parsed = DelegatedRequest(
        _subscription(subscription),
        Signature(
            nonce=signature.number("nonce", 32),
            expiry=signature.number("expiry", 32),
            v=signature.recovery_id("v"),
            r=signature.scalar("r"),
            s=signature.scalar("s"),
        ),
        data,
    )
    return msgspec.structs.replace(parsed, signed=_canonical(parsed))


def _canonical(request: DelegatedRequest) -> bytes:
    """The JSON of what a request has signed, without anything else that came with it."""
    values = {
        field.name: "0x" + value.hex() if isinstance(value, bytes) else value
        for field, value in zip(
            request.subscription.fields, request.subscription.to_abi(), strict=True
        )
    }
    signature = msgspec.structs.asdict(request.signature)
    document = {"subscription": values, "signature": signature}
    return json.dumps(document, separators=(",", ":")).encode()


def _subscription(found: _Object) -> Subscription:
    kind: type[Subscription] = SubscriptionV1
    if "containers" not in found.fields and any(name in found.fields for name in _ONLY_V0):
        kind = SubscriptionV0
        if bytes(found.fields.get("inputs", b"null")) == b"null":
            found.fields["inputs"] = Raw(b'""')  # the one field that may be left out
    return kind(*[found.field(field) for field in kind.fields])


class _Object:
    """An object in the request; `path` is where it stands in the body."""

    def __init__(self, text: bytes | Raw, path: str = "") -> None:
        self.text = text
        self.path = path
        try:
            self.fields = _objects.decode(text)
        except msgspec.ValidationError as error:
            self._refuse("", "an object", explain(str(error)).found)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _malformed(error) from None

    def nested(self, name: str) -> _Object:
        """A field that is an object itself."""
        return _Object(self._text(name, "an object"), f"{self.path}.{name}".lstrip("."))

    def field(self, field: Field) -> Any:
        """A field of a subscription, as the Python value of its ABI type."""
        name = field.name
        match field.type:
            case "address":
                return to_checksum_address(self._hex(name, _ADDRESS, 40, "an address"))
            case "bytes32":
                return bytes.fromhex(self._hex(name, _HASH, 64, "a hash"))
            case "bool":
                return self._value(name, bool, "true or false")
            case "string":
                return self._value(name, str, "text")
            case "bytes":
                return self._bytes(name)
            case kind:
                return self.number(name, int(kind.removeprefix("uint")))

    def number(self, name: str, bits: int) -> int:
        """A whole number of so many bits, without a sign."""
        most = str(2**bits - 1) if bits <= 64 else f"2^{bits} - 1"
        number: int = self._value(
            name, int, f"a whole number from 0 to {most}", lambda value: 0 <= value < 2**bits
        )
        return number

    def recovery_id(self, name: str) -> int:
        """27 or 28, for which some signers write 0 and 1."""
        number: int = self._value(name, int, "27 or 28", lambda value: value in (0, 1, 27, 28))
        return number if number >= 27 else number + 27

    def scalar(self, name: str) -> int:
        """An `r` or `s`. The upper half is valid for a coordinator, so it is for the node."""
        number: int = self._value(
            name,
            int,
            "a whole number from 1 to the order of secp256k1, less one",
            lambda value: 1 <= value < _ORDER,
        )
        return number

    def _hex(self, name: str, pattern: re.Pattern[str], digits: int, what: str) -> str:
        """Hex digits in lower case without the 0x that may stand before them."""
        text: str = self._value(name, str, f"{what} of {digits} hex digits", pattern.fullmatch)
        return text[-digits:].lower()

    def _bytes(self, name: str) -> bytes:
        """Hex digits after 0x; other text is its UTF-8 bytes, as signers of typed data take it."""
        text: str = self._value(
            name,
            str,
            "text, or pairs of hex digits after 0x",
            lambda value: not value.startswith("0x") or _HEX.fullmatch(value),
        )
        return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()

    def _value(
        self,
        name: str,
        kind: type,
        expected: str,
        valid: Callable[[Any], object] = lambda value: True,
    ) -> Any:
        """A field of exactly this type (`true` is no number, `1.0` neither) that is valid."""
        text = self._text(name, expected)
        try:
            value = _values.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if isinstance(error, msgspec.ValidationError):  # more digits than Python wants to read
                self._refuse(name, expected, "a number out of range")
            raise _malformed(error) from None
        if type(value) is not kind or not valid(value):
            self._refuse(name, expected, _shown(value))
        return value

    def _text(self, name: str, expected: str) -> Raw:
        if name not in self.fields:
            self._refuse(name, expected, "nothing")
        return self.fields[name]

    def _refuse(self, name: str, expected: str, found: str) -> NoReturn:
        raise _unexpected(".".join(part for part in (self.path, name) if part), expected, found)


def _unexpected(path: str, expected: str, found: str) -> BadRequest:
    return BadRequest(
        f"{path or 'body'}: expected {expected}, found {found}", {"field": path} if path else {}
    )


def _kind_of(text: Raw) -> str:
    """What a JSON text is, in msgspec's words."""
    first = bytes(memoryview(text)[:1])
    kinds = {b"{": "object", b"[": "array", b'"': "str", b"t": "bool", b"f": "bool", b"n": "null"}
    return kinds.get(first, "int")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _malformed(error: Exception) -> BadRequest:
    reason = "nested too deeply" if isinstance(error, RecursionError) else error
    return BadRequest(f"Malformed JSON: {reason}")


def digest(request: DelegatedRequest, chain_id: int, coordinator: str) -> bytes:
    """The 32 bytes that are signed for this request to this coordinator on this chain."""
    subscription, signature = request.subscription, request.signature
    values = zip(subscription.fields, subscription.to_abi(), strict=True)
    message = encode_typed_data(
        domain_data={
            "name": "InfernetCoordinator",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": to_checksum_address(coordinator),
        },
        message_types={
            "DelegateSubscription": [
                {"name": "nonce", "type": "uint32"},
                {"name": "expiry", "type": "uint32"},
                {"name": "sub", "type": "Subscription"},
            ],
            "Subscription": [
                {"name": field.solidity_name, "type": field.type} for field in subscription.fields
            ],
        },
        message_data={
            "nonce": signature.nonce,
            "expiry": signature.expiry,
            "sub": {field.solidity_name: value for field, value in values},
        },
    )
    return keccak(b"\x19" + message.version + message.header + message.body)  # EIP-191


def recover_signer(request: DelegatedRequest, chain_id: int, coordinator: str) -> str:
    """The address of the account that signed the request for this coordinator on this chain.

    Takes 5 ms of CPU on a PC, many times that on a small board: to be called in a thread.
    Raises BadRequest when the signature belongs to no key.
    """
    signature = request.signature
    try:
        public_key = EllipticSignature(
            vrs=(signature.v - 27, signature.r, signature.s)
        ).recover_public_key_from_msg_hash(digest(request, chain_id, coordinator))
    except BadSignature:
        raise BadRequest(
            "signature: expected one that belongs to a key, found one that belongs to none",
            {"field": "signature"},
        ) from None
    return public_key.to_checksum_address()
