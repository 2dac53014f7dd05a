"""Files with environment variables of a container, as `podman run --env-file` reads them.

NAME=value on each line, the value as it stands, without quotes around it or escapes; empty lines
and those that begin with # are skipped. A name without "=", whose value Podman takes from its own
environment, is refused: a service has no environment worth passing on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAX_ENV_FILE: Final = 256 * 2**10
"""Bytes of such a file."""


def read_env_file(path: str) -> dict[str, str]:
    """The variables in a file; the last one of a name counts. Blocks.

    Raises OSError, and ValueError with the line and what is expected there; neither has a value.
    """
    with Path(path).expanduser().open("rb") as opened:
        content = opened.read(MAX_ENV_FILE + 1)
    if len(content) > MAX_ENV_FILE:
        raise ValueError(f"it is larger than {MAX_ENV_FILE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    if "\0" in text:
        raise ValueError("it has a NUL")
    variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (line := line.lstrip()) or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name or name != name.rstrip():
            raise ValueError(f"line {number} is not NAME=value")
        variables[name] = value
    return variables
