"""The id of a node: random, made once, in the file `node-id` of the storage folder."""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path
from typing import Final

FILE_NAME: Final = "node-id"

_FORM: Final = re.compile(r"[0-9a-f]{16}")
_MAX_FILE = 64  # bytes


def node_id(folder: Path) -> str:
    """The id of the node whose storage this is: 16 hex digits; made when there is none. Blocks.

    It says nothing about machine, user or secrets. One that cannot be stored lasts as long as the
    process: nothing depends on it but what other nodes show.
    """
    path = folder / FILE_NAME
    with contextlib.suppress(OSError), path.open("rb") as file:
        found = file.read(_MAX_FILE).decode("ascii", "replace").strip()
        if _FORM.fullmatch(found):
            return found
    made = secrets.token_hex(8)
    with contextlib.suppress(OSError):
        path.write_text(f"{made}\n", "ascii")
    return made
