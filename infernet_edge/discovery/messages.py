"""Messages of DNS as mDNS uses them (RFC 1035, RFC 6762): read from packets, and written.

Everything that is read comes from strangers: each length is checked, compressed names only point
backwards, and the numbers of records and of labels are bounded.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Name = tuple[bytes, ...]
"""The labels of a name, without the empty one at its end."""

A: Final = 1
PTR: Final = 12
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
ANY: Final = 255

MAX_PACKET: Final = 9000
"""Bytes of a message (RFC 6762, 17)."""

_MAX_RECORDS = 256  # of a message; the packets of a home network have 30
_MAX_NAME = 255  # bytes of a name (RFC 1035, 2.3.4)
_MAX_LABEL = 63  # bytes of a label
_MAX_JUMPS = 32  # compressed parts of one name

_IN = 1
_TOP = 0x8000  # of a class: a unicast answer is wanted, or the record replaces all of its name
_RESPONSE = 0x8000
_AUTHORITATIVE = 0x0400
_TRUNCATED = 0x0200
_OPCODE_AND_RCODE = 0x780F
_Places = dict[Name, int] | None  # where names are in the packet; None: none is compressed
_HEADER = struct.Struct("!6H")
_FIXED = struct.Struct("!HHIH")


class MalformedMessage(ValueError):
    """A packet is not a message of DNS, or not one of mDNS."""


class Question(NamedTuple):
    """What is asked for; `unicast`: the answer is wanted by this querier alone."""

    name: Name
    kind: int
    unicast: bool = False


@dataclass(frozen=True)
class Srv:
    """Where a service is: the name of its host, and its port."""

    host: Name
    port: int


Data = Name | Srv | Address | bytes
"""Of PTR, of SRV, of A and AAAA; the bytes of TXT and of all other kinds."""


class DnsRecord(NamedTuple):
    """A resource record; `flush`: it replaces what is known of its name and kind."""

    name: Name
    kind: int
    data: Data
    ttl: int
    flush: bool = False

    @property
    def key(self) -> tuple[Name, int, Data]:
        """Equal for records that say the same; names in any case of letters."""
        data = self.data
        if isinstance(data, Srv):
            data = Srv(folded(data.host), data.port)
        elif isinstance(data, tuple):
            data = folded(data)
        return folded(self.name), self.kind, data


class DnsMessage(NamedTuple):
    """A query or a response; `proposed` are the records that a probe wants for itself."""

    response: bool
    questions: Sequence[Question] = ()
    answers: Sequence[DnsRecord] = ()
    proposed: Sequence[DnsRecord] = ()
    additional: Sequence[DnsRecord] = ()
    identifier: int = 0
    truncated: bool = False


def folded(name: Name) -> Name:
    """A name for comparisons: letters of ASCII are equal in both cases (RFC 6762, 16)."""
    return tuple(label.lower() for label in name)


def read_message(packet: bytes) -> DnsMessage:
    """Read a packet; raises MalformedMessage."""
    try:
        return _read(packet)
    except (struct.error, IndexError) as error:
        raise MalformedMessage("it ends too early") from error


def _read(packet: bytes) -> DnsMessage:
    if len(packet) > MAX_PACKET:
        raise MalformedMessage("it is too long")
    identifier, flags, *counts = _HEADER.unpack_from(packet)
    if flags & _OPCODE_AND_RCODE:
        raise MalformedMessage("not a query or an answer")
    if sum(counts) > _MAX_RECORDS:
        raise MalformedMessage("too many records")
    offset = _HEADER.size
    questions = []
    for _ in range(counts[0]):
        name, offset = _read_name(packet, offset)
        kind, group = struct.unpack_from("!HH", packet, offset)
        offset += 4
        if group & ~_TOP in (_IN, ANY):
            questions.append(Question(name, kind, unicast=bool(group & _TOP)))
    sections: list[list[DnsRecord]] = []
    for count in counts[1:]:
        section: list[DnsRecord] = []
        for _ in range(count):
            record, offset = _read_record(packet, offset)
            if record is not None:
                section.append(record)
        sections.append(section)
    response, truncated = bool(flags & _RESPONSE), bool(flags & _TRUNCATED)
    answers, proposed, additional = sections
    return DnsMessage(response, questions, answers, proposed, additional, identifier, truncated)


def _read_record(packet: bytes, offset: int) -> tuple[DnsRecord | None, int]:
    name, offset = _read_name(packet, offset)
    kind, group, ttl, length = _FIXED.unpack_from(packet, offset)
    offset += _FIXED.size
    end = offset + length
    if end > len(packet):
        raise MalformedMessage("a record ends too late")
    if group & ~_TOP != _IN:
        return None, end
    data = _read_data(packet, offset, end, kind)
    return DnsRecord(name, kind, data, min(ttl, 2**31 - 1), flush=bool(group & _TOP)), end


def _read_data(packet: bytes, offset: int, end: int, kind: int) -> Data:
    content = packet[offset:end]
    if kind == PTR:
        name, after = _read_name(packet, offset)
        if after != end:
            raise MalformedMessage("the length of a PTR record is wrong")
        return name
    if kind == SRV:
        (port,) = struct.unpack_from("!H", packet, offset + 4)
        name, after = _read_name(packet, offset + 6)
        if after != end:
            raise MalformedMessage("the length of a SRV record is wrong")
        return Srv(name, port)
    try:
        if kind == A:
            return ipaddress.IPv4Address(content)
        if kind == AAAA:
            return ipaddress.IPv6Address(content)
    except ValueError as error:
        raise MalformedMessage("the length of an address is wrong") from error
    return content


def _read_name(packet: bytes, offset: int) -> tuple[Name, int]:
    """The name at an offset, and the offset behind it; compressed parts only point backwards."""
    labels: list[bytes] = []
    size, jumps, start, behind = 1, 0, offset, 0
    while length := packet[offset]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | packet[offset + 1]
            behind = behind or offset + 2
            jumps += 1
            if target >= start or jumps > _MAX_JUMPS:
                raise MalformedMessage("a name points forwards, or to itself")
            offset = start = target
            continue
        if length > _MAX_LABEL:
            raise MalformedMessage("a label of an unknown form")
        label = packet[offset + 1 : offset + 1 + length]
        size += length + 1
        if len(label) < length or size > _MAX_NAME:
            raise MalformedMessage("a name is too long")
        labels.append(label)
        offset += 1 + length
    return tuple(labels), behind or offset + 1


def write_message(message: DnsMessage) -> bytes:
    """Write a message, with compressed names."""
    flags = _RESPONSE | _AUTHORITATIVE if message.response else 0
    if message.truncated:
        flags |= _TRUNCATED
    sections = (message.answers, message.proposed, message.additional)
    counts = [len(message.questions), *map(len, sections)]
    packet = bytearray(_HEADER.pack(message.identifier, flags, *counts))
    places: _Places = {}
    for question in message.questions:
        _write_name(packet, question.name, places)
        packet += struct.pack("!HH", question.kind, _IN | (_TOP if question.unicast else 0))
    for section in sections:
        for record in section:
            _write_record(packet, record, places)
    return bytes(packet)


def _write_record(packet: bytearray, record: DnsRecord, places: _Places) -> None:
    _write_name(packet, record.name, places)
    packet += _FIXED.pack(record.kind, _IN | (_TOP if record.flush else 0), record.ttl, 0)
    start = len(packet)
    data = record.data
    if isinstance(data, Srv):
        packet += struct.pack("!HHH", 0, 0, data.port)
        _write_name(packet, data.host, places)
    elif isinstance(data, tuple):
        _write_name(packet, data, places)
    else:
        packet += data if isinstance(data, bytes) else data.packed
    struct.pack_into("!H", packet, start - 2, len(packet) - start)


def _write_name(packet: bytearray, name: Name, places: _Places) -> None:
    for number in range(len(name)):
        rest = name[number:]
        if places is not None and rest in places:
            packet += struct.pack("!H", 0xC000 | places[rest])
            return
        if places is not None and len(packet) < 0x4000:
            places[rest] = len(packet)
        packet.append(len(name[number]))
        packet += name[number]
    packet.append(0)


def wire_form(record: DnsRecord) -> bytes:
    """The kind and the data of a record, uncompressed: the order of probes (RFC 6762, 8.2)."""
    packet = bytearray()
    _write_record(packet, record._replace(name=()), None)
    kind, data = packet[1:3], packet[1 + _FIXED.size :]
    return bytes(kind + data)


def write_texts(texts: Iterable[str]) -> bytes:
    """The data of a TXT record; each text has at most 255 bytes of UTF-8."""
    encoded = [text.encode() for text in texts]
    return b"".join(bytes([len(text)]) + text for text in encoded) or b"\0"


def read_texts(data: bytes) -> dict[str, str]:
    """The keys and values of a TXT record (RFC 6763, 6.4): the first of a key counts."""
    found: dict[str, str] = {}
    offset = 0
    while offset < len(data):
        text = data[offset + 1 : offset + 1 + data[offset]]
        offset += 1 + data[offset]
        key, _, value = text.decode("utf-8", "replace").partition("=")
        if key:
            found.setdefault(key.lower(), value)
    return found
