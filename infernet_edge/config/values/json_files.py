"""JSON files that the configuration names, such as that of `containers[].input_schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from infernet_edge.config.values.json_errors import json_error

MAX_JSON_FILE: Final = 64 * 2**10
"""Bytes of such a file."""


def read_json_object(path: str) -> dict[str, Any]:
    """The object in a JSON file. Blocks.

    Raises OSError, and ValueError with what is wrong and where.
    """
    with Path(path).expanduser().open("rb") as opened:
        content = opened.read(MAX_JSON_FILE + 1)
    if len(content) > MAX_JSON_FILE:
        raise ValueError(f"it is larger than {MAX_JSON_FILE} bytes")
    try:
        text = content.decode("utf-8-sig")
        found = msgspec.json.decode(text)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"it is not JSON {json_error(text, str(error))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is JSON, and not an object")
    return found
