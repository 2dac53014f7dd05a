"""Messages of DNS: written and read, and what is refused."""

from __future__ import annotations

import ipaddress
import random
import struct
import time

import pytest

from infernet_edge.discovery.messages import (
    AAAA,
    ANY,
    MAX_PACKET,
    PTR,
    SRV,
    TXT,
    A,
    DnsMessage,
    DnsRecord,
    MalformedMessage,
    Question,
    Srv,
    read_message,
    read_texts,
    wire_form,
    write_message,
    write_texts,
)
from infernet_edge.discovery.service import SERVICE

NAME = (b"pi-kitchen (2).x", *SERVICE)
HOST = (b"infernet-1", b"local")
FULL = DnsMessage(
    True,
    [Question(SERVICE, PTR), Question(NAME, ANY, unicast=True)],
    [DnsRecord(SERVICE, PTR, NAME, 4500)],
    [DnsRecord(NAME, SRV, Srv(HOST, 4000), 120, flush=True)],
    [
        DnsRecord(NAME, TXT, write_texts(["id=1", "x"]), 4500, flush=True),
        DnsRecord(HOST, A, ipaddress.IPv4Address("10.0.0.7"), 120, flush=True),
        DnsRecord(HOST, AAAA, ipaddress.IPv6Address("fd00::7"), 120, flush=True),
    ],
    identifier=77,
    truncated=True,
)


def header(*counts: int, flags: int = 0x8400) -> bytes:
    return struct.pack("!6H", 0, flags, *counts, *[0] * (4 - len(counts)))


def test_what_is_written_is_read() -> None:
    packet = write_message(FULL)
    assert read_message(packet) == FULL
    assert packet.count(b"_infernet") == 1  # names are compressed


def test_names_that_differ_in_case_are_one() -> None:
    upper = tuple(label.upper() for label in NAME)
    first, second = (DnsRecord(name, PTR, name, 1) for name in (NAME, upper))
    assert first.key == second.key
    srv = [DnsRecord(NAME, SRV, Srv(host, 1), 1) for host in (HOST, (b"INFERNET-1", b"Local"))]
    assert srv[0].key == srv[1].key


def test_texts() -> None:
    data = write_texts(["a=1", "b", "A=2", "c=d=e", "="])
    assert read_texts(data) == {"a": "1", "b": "", "c": "d=e"}
    assert write_texts([]) == b"\0"
    for cut in range(len(data)):
        read_texts(data[:cut])
    assert read_texts(b"\xff=1\x02\xff\xfe") == {}


def test_the_order_of_probes_is_that_of_the_bytes() -> None:
    """RFC 6762, 8.2.1: 169.254.99.200 is later than 169.254.200.50, as 200 is more than 99."""
    early, late = (
        wire_form(DnsRecord(HOST, A, ipaddress.IPv4Address(text), 120, flush=flush))
        for text, flush in (("169.254.99.200", True), ("169.254.200.50", False))
    )
    assert early < late
    assert early == b"\0\x01" + bytes([169, 254, 99, 200])
    assert wire_form(FULL.proposed[0]).endswith(b"\x05local\0")  # not compressed


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        header(1),
        header(0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF),
        header(200, 57, 0, 0) + b"\0\0\1\0\1" * 300,
        header(1, flags=0x7800) + b"\0\0\1\0\1",
        header(1, flags=0x8403) + b"\0\0\1\0\1",
        header(1) + b"\xc0\x0c\0\1\0\1",  # points to itself
        header(1) + b"\1a\xc0\x0c\0\1\0\1",  # points to its own beginning
        header(1) + b"\xc0\xff\0\1\0\1",  # points behind the end
        header(1) + b"\x80abc\0\0\1\0\1",  # a form that was never defined
        header(1) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",  # more than 255 bytes
        header(1) + b"\x3fabc",
        header(0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", A, 1, 1, 3) + b"abc",
        header(0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", AAAA, 1, 1, 4) + b"abcd",
        header(0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", PTR, 1, 1, 2) + b"\1a\0",
        header(0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", SRV, 1, 1, 5) + b"abcde",
        header(0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", SRV, 1, 1, 9) + b"\0" * 9,
        header(0, 1, 0, 0) + b"\0" + struct.pack("!HHIH", TXT, 1, 1, 0xFFFF) + b"abc",
        write_message(FULL) + bytes(MAX_PACKET),
    ],
)
def test_malformed_packets(packet: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_message(packet)


def test_a_chain_of_pointers_ends() -> None:
    """Each points to the one before; RFC 1035 has no limit, this reader has."""
    assert read_message(_chained(20)).answers[1].name == ()
    with pytest.raises(MalformedMessage):
        read_message(_chained(100))


def _chained(length: int) -> bytes:
    """A record whose data are an empty name and pointers, and one whose name is the last."""
    start = 12 + 1 + 10  # of the data: after the header, the empty name and the fixed part
    places = [start, *(start + 1 + 2 * n for n in range(length))]
    chain = b"\0" + b"".join(struct.pack("!H", 0xC000 | place) for place in places[:-1])
    fixed = struct.pack("!HHIH", 999, 1, 1, len(chain))
    last = struct.pack("!H", 0xC000 | places[-1]) + struct.pack("!HHIH", 999, 1, 1, 0)
    return header(0, 2) + b"\0" + fixed + chain + last


def test_other_classes_are_left_out() -> None:
    record = b"\0" + struct.pack("!HHIH", A, 3, 1, 4) + b"abcd"
    assert read_message(header(0, 1, 0, 0) + record).answers == []
    assert read_message(header(1) + b"\0\0\1\0\3").questions == []


def test_random_packets_are_read_or_refused_at_once() -> None:
    """Also those that are almost right: a valid one with some bytes changed, or cut."""
    chance = random.Random(5353)
    valid = write_message(FULL)
    start = time.process_time()
    read = 0
    for _ in range(20_000):
        if chance.random() < 0.3:
            packet = header(*(chance.choice((0, 1, 3, 300)) for _ in range(4)))
            packet += chance.randbytes(chance.randrange(300))
        else:
            changed = bytearray(valid)
            for _ in range(chance.randrange(1, 6)):
                changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0xC0, 0xFF, 12, 63))
            packet = bytes(changed[: chance.randrange(1, len(changed) + 1)])
        try:
            message = read_message(packet)
        except MalformedMessage:
            continue
        read += 1
        for record in (*message.answers, *message.proposed, *message.additional):
            assert record.key
            if isinstance(record.data, bytes):
                read_texts(record.data)
    assert read > 100
    assert time.process_time() - start < 30


def test_the_worst_packet_takes_little_time() -> None:
    """As many names as are allowed, each of as many labels as fit."""
    name = b"\1a" * 127 + b"\0"
    asked = b"\0\1\0\1"
    packet = header(256) + name + asked + (b"\xc0\x0c" + asked) * 255
    start = time.process_time()
    for _ in range(20):
        assert len(read_message(packet).questions) == 256
    assert (time.process_time() - start) / 20 < 0.05
