"""Python's usual recursion limit, for tests of deeply nested input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def usual_recursion_limit() -> Iterator[None]:
    """Python's own limit of 1000. py_ecc, which eth-account brings, lifts it beyond the stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
