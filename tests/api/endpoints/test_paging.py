"""Limits and links of pages."""

from __future__ import annotations

import pytest

from infernet_edge.api.endpoints.paging import limit_of, next_link
from infernet_edge.errors import BadRequest


def test_the_limit() -> None:
    assert limit_of({}, 50, 100) == 50
    assert limit_of({"limit": [""]}, 50, 100) == 50
    assert limit_of({"limit": ["7", "100"]}, 50, 100) == 100


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "x", "9" * 12])
def test_a_wrong_limit(text: str) -> None:
    with pytest.raises(BadRequest, match="whole number from 1 to 100"):
        limit_of({"limit": [text]}, 50, 100)


def test_the_next_page_has_the_same_filter() -> None:
    parameters = {"state": ["failed"], "before": ["old"], "container": ["a b&c>"]}
    assert next_link("/api/history", parameters, "new") == (
        b"link",
        b'</api/history?state=failed&before=new&container=a+b%26c%3E>; rel="next"',
    )
