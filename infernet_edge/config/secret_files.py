"""Read files with one secret each: those that the configuration names, and credentials."""

from __future__ import annotations

import os
from pathlib import Path

MAX_SECRET = 64 * 2**10  # bytes


class Secret:
    """A text that is never printed; only `reveal()` returns it."""

    __slots__ = ("_text", "file")

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        self.file = file
        """The file of {"file": …}; None when the configuration holds the text itself."""

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


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
