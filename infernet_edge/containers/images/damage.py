"""Recognise a damaged image, as a power cut leaves it: files of Podman's storage are empty or gone.

The texts are those of Podman 4.3 and of its storage library (containers/storage), whose files
were emptied and deleted one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_IN_STORAGE = re.compile(
    r"layer not known"
    r"|nil pointer dereference"  # Podman 4, when the image's files cannot be read
    r"|unexpected end of JSON input|invalid character '\\x00'"
    r"|locating item named \"?[\w:=./+-]+\"? for image"
    r"|does not match expected sha256:"
    r"|getting graph driver info|recreating the missing symlinks|correcting link for layer"
    r"|(?:stat|lstat|open|readlink) \S*/(?:overlay|vfs|btrfs)(?:-\w+)?/"
    r"|readlink \S*/overlay:"
)
# The content of the layers: programs, scripts and libraries without a content.
_IN_OUTPUT = re.compile(r"exec format error|file too short|invalid ELF header", re.IGNORECASE)


def is_damage(error: str) -> bool:
    """Whether an error of Podman means that the storage of an image is damaged."""
    return _IN_STORAGE.search(error) is not None


def output_shows_damage(output: str) -> bool:
    """Whether the last output of a container that never got ready points to damaged files."""
    return _IN_OUTPUT.search(output) is not None


def lost_layer(attributes: Mapping[str, Any]) -> str:
    """The folder of a layer of an image that does not exist any more; "" when all do. Blocks.

    `attributes` are those of Podman's inspection. Only for the driver overlay, and only where this
    process sees the folders.
    """
    driver = attributes.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    top = data.get("UpperDir", "")
    if driver.get("Name") != "overlay" or not top:
        return ""
    folders = [top, *filter(None, data.get("LowerDir", "").split(":"))]
    try:
        if not Path(top).parent.parent.is_dir():
            return ""  # on another machine, or of another user
        lost = (each for each in folders if Path(each).name != "diff" or not Path(each).is_dir())
        return next(lost, "")
    except OSError:
        return ""
