"""The id of a node."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infernet_edge.discovery.identity import node_id


def test_it_stays_the_same(tmp_path: Path) -> None:
    made = node_id(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{16}", made)
    assert node_id(tmp_path) == made
    (tmp_path / "second").mkdir()
    assert node_id(tmp_path / "second") != made


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"../../etc", b"A" * 16, b"1" * 17])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node-id").write_bytes(content)
    made = node_id(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{16}", made)
    assert node_id(tmp_path) == made


def test_one_that_cannot_be_stored_still_is_one(tmp_path: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", node_id(tmp_path / "missing"))
