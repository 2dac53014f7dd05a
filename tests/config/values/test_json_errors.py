"""Where a text is not JSON, and why."""

from __future__ import annotations

import msgspec
import pytest

from infernet_edge.config.values.json_errors import json_error, place_after


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a" 1}', "at line 1, column 6 (Expecting ':' delimiter)"),
        ('{"a": 1,}', "remove the comma before }"),
        ('{"a": 1,\n}', "remove the comma before }"),
        ('{"a": [1 , ]}', "remove the comma before ]"),
        ('{"a": 1} # b', "JSON has no comments"),
        ('["é", NaN]', "at line 1, column 7 (JSON is malformed: invalid character (byte 7))"),
        ('{"a": "hunter2', "at line 1, column 7 (Unterminated string starting at)"),
    ],
)
def test_errors(text: str, shown: str) -> None:
    with pytest.raises(msgspec.DecodeError) as error:
        msgspec.json.decode(text)
    found = json_error(text, str(error.value))
    assert shown in found
    assert "hunter2" not in found


def test_places() -> None:
    assert place_after("") == "line 1, column 1"
    assert place_after("a\nbé") == "line 2, column 3"
