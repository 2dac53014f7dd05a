from __future__ import annotations

import json
from collections.abc import AsyncIterator

from infernet_edge.config.model import Container
from infernet_edge.containers.protocols import infernet
from infernet_edge.containers.protocols.call import Call, ContainerInput, RequestBody, StoredInput

ECHO = Container(id="echo")


def test_the_body_is_what_containers_expect() -> None:
    wide = b'{"r":%d, "text":"\\u00e9"}' % 2**256
    given = ContainerInput(wide, 0, 2, requires_proof=True)
    call = infernet.request(ECHO, given, "")
    assert (call.method, call.path) == ("POST", "/service_output")
    assert isinstance(call.body, bytes)
    assert json.loads(call.body) == {
        "source": 0,
        "destination": 2,
        "data": {"r": 2**256, "text": "é"},
        "requires_proof": True,
    }
    assert wide in call.body
    assert infernet.stream_request(ECHO, given, "") == call


def test_a_long_input_in_memory_is_not_copied() -> None:
    data = memoryview(b'"%b"' % (b"x" * 100_000))
    call = infernet.request(ECHO, ContainerInput(data, 1, 1, requires_proof=False), "")
    assert isinstance(call.body, RequestBody)
    assert call.body.data is data
    assert call.body.size == len(call.body.before) + 100_002 + len(call.body.after)


def test_a_stored_input_is_not_read() -> None:
    def pieces() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")

    stored = StoredInput(7, pieces)
    given = ContainerInput(stored, 1, 1, requires_proof=False)
    before, after = b'{"source":1,"destination":1,"data":', b',"requires_proof":false}'
    assert not infernet.needs_whole(given)
    call = infernet.request(ECHO, given, "")
    assert call == Call("/service_output", RequestBody(before, stored, after))
    assert isinstance(call.body, RequestBody)
    assert call.body.size == len(before) + 7 + len(after)
