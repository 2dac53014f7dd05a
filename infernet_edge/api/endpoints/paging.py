"""Pages of lists: the cursor for the next one in a Link header (RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from infernet_edge.errors import BadRequest

_DIGITS = re.compile("[0-9]{1,9}")

Parameters = Mapping[str, Sequence[str]]


def limit_of(parameters: Parameters, usual: int, maximum: int) -> int:
    """The parameter `limit`; raises BadRequest when it is not 1 to the maximum."""
    text = parameters.get("limit", [""])[-1] or str(usual)
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= maximum:
        raise BadRequest(f"limit: expected a whole number from 1 to {maximum}", {"field": "limit"})
    return int(text)


def next_link(path: str, parameters: Parameters, before: str) -> tuple[bytes, bytes]:
    """The header with the address of the next page."""
    query = urlencode({**parameters, "before": [before]}, doseq=True)
    return b"link", f'<{path}?{query}>; rel="next"'.encode()
