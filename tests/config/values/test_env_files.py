from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.config.values.env_files import MAX_ENV_FILE, read_env_file


def test_the_lines_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "service.env"
    file.write_text(
        '\ufeff# a comment\n\n  A=1\nB="quoted"  \r\nC=a=b # not a comment\nD=\nA=2\nÜ=ü\n',
        encoding="utf-8",
    )
    assert read_env_file(str(file)) == {
        "A": "2",
        "B": '"quoted"  ',
        "C": "a=b # not a comment",
        "D": "",
        "Ü": "ü",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"A=1\nTOKEN\n", "line 2 is not NAME=value"),
        (b"=secret\n", "line 1 is not NAME=value"),
        (b"A =secret\n", "line 1 is not NAME=value"),
        (b"A=\xff\n", "it is not UTF-8 text"),
        (b"A=\0\n", "it has a NUL"),
        (b"A=" + b"x" * MAX_ENV_FILE, f"it is larger than {MAX_ENV_FILE} bytes"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "service.env"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_env_file(str(file))
