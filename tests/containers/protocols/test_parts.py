from __future__ import annotations

import pytest

from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols.parts import part_of

# The document and the pointers of RFC 6901, section 5.
DOCUMENT = (
    rb'{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,'
    rb' "k\"l": 6, " ": 7, "m~n": 8, "\u00fc": 9}'
)


@pytest.mark.parametrize(
    ("pointer", "part"),
    [
        ("", DOCUMENT),
        ("/foo", b'["bar", "baz"]'),
        ("/foo/0", b'"bar"'),
        ("/", b"0"),
        ("/a~1b", b"1"),
        ("/c%d", b"2"),
        ("/e^f", b"3"),
        ("/g|h", b"4"),
        ("/i\\j", b"5"),
        ('/k"l', b"6"),
        ("/ ", b"7"),
        ("/m~0n", b"8"),
        ("/ü", b"9"),
    ],
)
def test_the_pointers_of_the_standard(pointer: str, part: bytes) -> None:
    assert part_of(DOCUMENT, pointer) == part
    assert part_of(bytearray(DOCUMENT), pointer) == part


@pytest.mark.parametrize(
    "pointer", ["/bar", "/foo/2", "/foo/-", "/foo/00", "/foo/bar", "/foo/0/x", "/foo/1000", "/m~01"]
)
def test_what_is_not_there(pointer: str) -> None:
    with pytest.raises(ContainerFailure, match="nothing at"):
        part_of(DOCUMENT, pointer)


def test_null_is_a_part() -> None:
    assert part_of(b'{"a": null}', "/a") == b"null"


def test_numbers_keep_their_digits_and_the_last_of_two_keys_counts() -> None:
    wide = b"%d.10e5" % 2**256
    assert part_of(b'{"a": 1, "a": [{"b":' + wide + b"}]}", "/a/0/b") == wide


def test_a_list_in_a_list_after_much_white_space() -> None:
    assert part_of(b" " * 60 + b'{"x":   [[1, [2, 3]]]}', "/x/0/1/1") == b"3"
    assert part_of(b'{"0": {"1": 5}}', "/0/1") == b"5"
