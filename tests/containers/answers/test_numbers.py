from __future__ import annotations

import asyncio
import json
import math
import time

import pytest

from infernet_edge.containers.answers import numbers
from infernet_edge.containers.answers.numbers import has_numbers, replace_numbers, without_numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"NaN", b"null"),
        (b"-Infinity", b"null"),
        (b'{"a": NaN,"b":[Infinity,-Infinity, 1.10]}', b'{"a": null,"b":[null,null, 1.10]}'),
        (b'["NaN", NaN, "-Infinity"]', b'["NaN", null, "-Infinity"]'),
        (b'{"NaN": NaN, "\\"": NaN, "\\\\": NaN}', b'{"NaN": null, "\\"": null, "\\\\": null}'),
        ('{"ü": NaN}'.encode(), '{"ü": null}'.encode()),
        (b'{"a": 1}', b'{"a": 1}'),
        (b"", b""),
    ],
)
def test_numbers_that_json_does_not_have_are_null(text: bytes, expected: bytes) -> None:
    assert replace_numbers(text) == expected


@pytest.mark.parametrize("text", [b"-NaN", b"1NaN", b"nan", b"+Infinity", b'"NaN', b"[NaN,]"])
def test_what_python_does_not_read_either_is_not_made_valid(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json.loads(replace_numbers(text))


def test_a_long_text_is_replaced_across_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_WINDOW", 7)
    values = [math.nan, math.inf, -math.inf, 0.5, "NaN, -Infinity", ["\\", '"', math.nan]]
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(values * 20, separators=separators).encode()
        expected = json.loads(text, parse_constant=lambda _: None)
        assert json.loads(replace_numbers(text)) == expected


async def test_the_event_loop_runs_meanwhile() -> None:
    text = b"[" + b'"ab",NaN,' * 300_000 + b"0]"
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    replaced = await without_numbers(text)
    took = time.monotonic() - began
    ticking.cancel()
    assert replaced.count(b"null") == 300_000
    assert longest < max(0.1, took / 2)


def test_most_answers_are_not_searched() -> None:
    assert not has_numbers(b'{"a": [1, 2.5e3]}')
    assert has_numbers(bytearray(b"[-Infinity]"))


@pytest.mark.parametrize("end", [b'"\\', b'"\\"', b"\\"])
def test_a_string_without_an_end_takes_no_time(end: bytes) -> None:
    """A search from each of its quotes to the end would take hours, and stop the whole process."""
    text = b'[NaN, "' + b'\\"' * 200_000 + end
    before = time.process_time()
    assert replace_numbers(text).startswith(b'[null, "\\"')
    assert time.process_time() - before < 2
