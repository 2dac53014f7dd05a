"""Read files with one secret each: those that the configuration names, and credentials."""

from __future__ import annotations

import os
from pathlib import Path

MAX_SECRET = 64 * 2**10  # bytes


def read_secret(file: Path) -> tuple[str, int]:
    """The text of a file without surrounding white space, and the file's mode. Blocks.

    Raises OSError, and ValueError with a reason when the content cannot be a secret.
    """
    with file.open("rb") as opened:
        content = opened.read(MAX_SECRET + 1)
        mode = os.fstat(opened.fileno()).st_mode
    if len(content) > MAX_SECRET:
        raise ValueError(f"it is larger than {MAX_SECRET} bytes")
    try:
        return content.decode("utf-8").strip(), mode
    except UnicodeDecodeError:
        # Without the error and its cause: they quote the content.
        raise ValueError("it is not UTF-8 text") from None
