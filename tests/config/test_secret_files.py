from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.config.secret_files import MAX_SECRET, read_secret


def test_the_text_and_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("  käse\n")
    file.chmod(0o640)
    text, mode = read_secret(file)
    assert text == "käse"
    assert mode & 0o777 == 0o640


def test_invalid_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"x" * MAX_SECRET)
    assert len(read_secret(file)[0]) == MAX_SECRET
    file.write_bytes(b"x" * (MAX_SECRET + 1))
    with pytest.raises(ValueError, match="larger than 65536 bytes"):
        read_secret(file)
    file.write_bytes(b"hunter2\xff")
    with pytest.raises(ValueError, match="not UTF-8") as refused:
        read_secret(file)
    assert "hunter2" not in str(refused.value)
    for wrong in (tmp_path, tmp_path / "absent", tmp_path / ("a" * 300)):
        with pytest.raises(OSError, match=r"."):
            read_secret(wrong)
