"""Where a node is not announced."""

from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.config.sections.discovery import Discovery
from infernet_edge.discovery.permission import why_off


@pytest.mark.parametrize(
    ("enabled", "address", "inside", "is_on"),
    [
        (None, "0.0.0.0", False, True),
        (None, "192.168.1.5", False, True),
        (None, "::", False, True),
        (None, "127.0.0.1", False, False),
        (None, "::1", False, False),
        (None, "0.0.0.0", True, False),
        (True, "0.0.0.0", True, True),
        (True, "127.0.0.1", False, False),
        (False, "0.0.0.0", False, False),
    ],
)
def test_when_it_is_on(
    enabled: bool | None, address: str, inside: bool, is_on: bool, tmp_path: Path
) -> None:
    if inside:
        (tmp_path / ".dockerenv").touch()
    off = why_off(Discovery(enabled=enabled), (address, False), tmp_path)
    assert (not off) is is_on, off


def test_without_a_socket_it_is_off(tmp_path: Path) -> None:
    assert why_off(Discovery(), None, tmp_path)
