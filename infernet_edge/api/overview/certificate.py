"""The certificate of server.tls: its fingerprint, and until when it is valid."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

_MAX_FILE: Final = 2**20  # bytes of a file with certificates
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


class Certificate(Struct, frozen=True):
    """`fingerprint` is its SHA-256 in hex, `not_after` in milliseconds since 1970."""

    fingerprint: str
    not_after: int | None


def read_certificate(file: Path) -> Certificate | None:
    """The first certificate of a PEM file; None when there is none that can be read. Blocks."""
    import ssl  # most nodes have no certificate

    try:
        with file.open("r", encoding="ascii", errors="replace") as opened:
            text = opened.read(_MAX_FILE)
        begin = text.index(_BEGIN)
        pem = text[begin : text.index(_END, begin) + len(_END)]
        der = ssl.PEM_cert_to_DER_cert(pem)
    except (OSError, ValueError):
        return None
    return Certificate(hashlib.sha256(der).hexdigest(), _not_after(der))


def _not_after(der: bytes) -> int | None:
    """The end of the validity (RFC 5280, section 4.1): Python has no function for it."""
    try:
        certificate, _ = _element(der, _SEQUENCE)
        fields, _ = _element(certificate, _SEQUENCE)
        if fields[0] == _VERSION:
            _, fields = _element(fields)
        for _ in range(3):  # serial number, algorithm, issuer
            _, fields = _element(fields)
        validity, _ = _element(fields, _SEQUENCE)
        _, rest = _element(validity)  # its beginning
        text, _ = _element(rest)
        return _milliseconds(rest[0], text.decode("ascii"))
    except (ValueError, IndexError):
        return None


def _element(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """The content of the first element (X.690, section 8.1) and what follows it."""
    if tag is not None and data[0] != tag:
        raise ValueError("another element was expected")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start])
    if start + size > len(data):
        raise ValueError("the element is cut off")
    return data[start : start + size], data[start + size :]


def _milliseconds(tag: int, text: str) -> int:
    if tag == _UTC_TIME:  # two digits of the year: those from 50 on are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000
