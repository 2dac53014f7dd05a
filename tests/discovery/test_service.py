"""What a node announces, and what is taken from other announcements."""

from __future__ import annotations

import ipaddress

from infernet_edge.discovery.messages import SRV, TXT, A, Srv, read_texts, write_texts
from infernet_edge.discovery.service import (
    SERVICE,
    clean,
    container_ids,
    cut,
    found_node,
    numbered,
    records,
)
from infernet_edge.hardware.network import Link
from tests.support.mdns import description

HOST = (b"infernet-1", b"local")
LINK = Link("eth0", 2, (ipaddress.ip_address("10.0.0.7"),), (ipaddress.ip_network("10.0.0.0/24"),))


def test_texts_are_short_whatever_the_containers_are() -> None:
    many = [f"container-with-a-long-name-{n}" for n in range(200)]
    for containers in ([], ["a"], many, ["x" * 128, "y" * 128]):
        texts = description(containers=containers).texts()
        assert all(len(text.encode()) <= 255 for text in texts)
        assert len(write_texts(texts)) < 500
    read = read_texts(write_texts(description(containers=many).texts()).ljust(1))
    shown = read["containers"].split(",")
    assert shown[:-1] == many[: len(shown) - 1]
    assert shown[-1] == f"+{200 - len(shown) + 1}"


def test_a_node_with_tokens_does_not_announce_its_containers() -> None:
    texts = description(protected=True, tls=True).texts()
    assert texts[-1] == "auth=token"
    assert not any(text.startswith("containers") for text in texts)
    assert "scheme=https" in texts


def test_records() -> None:
    made = records("pi-kitchen", HOST, description(), LINK)
    assert [record.kind for record in made] == [12, 12, SRV, TXT, A]
    assert [record.flush for record in made] == [False, False, True, True, True]
    assert [record.ttl for record in made] == [4500, 4500, 120, 4500, 120]
    assert made[1].data == (b"pi-kitchen", *SERVICE)
    assert made[2].data == Srv(HOST, 4000)


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert numbered("pi-kitchen", 1) == "pi-kitchen"
    assert numbered("pi-kitchen", 2) == "pi-kitchen (2)"
    for number in (1, 2, 100):
        assert len(numbered("ü" * 60, number).encode()) <= 63
    assert cut("aü", 2) == "a"


def test_texts_of_strangers_are_cleaned() -> None:
    assert clean("a\x1b[31mb\u202ec\nd") == "a\ufffd[31mb\ufffdc\ufffdd"
    assert len(clean("x" * 1000)) == 63
    assert container_ids(["a", "", "+3", "<b>", "../x", "b-1"]) == ["a", "b-1"]
    assert len(container_ids(map(str, range(1000)))) == 64
    node = found_node(
        (b"\xff\x1b evil", *SERVICE),
        Srv(HOST, 4000),
        {
            "id": "\x07" + "i" * 500,
            "version": "v" * 500,
            "scheme": "file",
            "containers": "a,\x1b,b",
        },
        [ipaddress.ip_address("fd00::7"), ipaddress.ip_address("10.0.0.7")],
        {ipaddress.ip_address("10.0.0.9")},
    )
    assert node.name == "\ufffd\ufffd evil"
    assert len(node.identifier) == len(node.version) == 64
    assert "\x07" not in node.identifier
    assert node.urls == ["http://10.0.0.7:4000", "http://[fd00::7]:4000"]
    assert node.containers == ["a", "b"]
    assert not node.on_this_machine
