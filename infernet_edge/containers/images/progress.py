"""The progress of a pull, by the messages of Podman.

In Docker's form of the call each line is a JSON object: `id` of the layer, `status`, and
`progressDetail` with `current` and `total` bytes
(https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageCreate).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from infernet_edge.errors import EngineError

_TEXT_PERIOD: Final = 3.0  # seconds between two texts
_PERIOD: Final = 0.5  # seconds between two reports of the bytes
_MAX_PARTS: Final = 10_000  # layers of an image; Podman itself allows fewer


class PullProgress(NamedTuple):
    """Bytes of the layers that are known so far; `text` for the log, usually ""."""

    bytes: int = 0
    of: int = 0
    text: str = ""


def progress_reports(lines: Iterator[bytes], name: str) -> Iterator[PullProgress]:
    """The progress of a pull: at the first line, then regularly.

    Raises EngineError with the error of the pull.
    """
    parts: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    next_text = time.monotonic() + _TEXT_PERIOD
    next_report = 0.0
    for line in lines:
        if not line:
            continue
        update = json.loads(line)
        if "error" in update:
            raise EngineError(f"Podman could not pull image {name}: {update['error']}")
        part, now = str(update.get("id", "")), time.monotonic()
        if part in parts or len(parts) < _MAX_PARTS:
            parts[part] = update.get("status", "")
            _note_size(sizes, part, update)
        text = ""
        if now >= next_text:
            next_text = now + _TEXT_PERIOD
            done = sum(status.startswith("Download complete") for status in parts.values())
            text = f"{done} of {len(parts)} parts complete; {_part(update)}"
        if text or now >= next_report:
            next_report = now + _PERIOD
            current = sum(size for size, _ in sizes.values())
            yield PullProgress(current, sum(total for _, total in sizes.values()), text)


def _note_size(sizes: dict[str, tuple[int, int]], part: str, update: Mapping[str, Any]) -> None:
    detail = update.get("progressDetail") or {}
    total = detail.get("total") or sizes.get(part, (0, 0))[1]
    current = detail.get("current") or 0
    if str(update.get("status", "")).startswith("Download complete"):
        current = total
    if total > 0:
        sizes[part] = (min(current, total), total)


def _part(update: Mapping[str, Any]) -> str:
    detail = update.get("progressDetail") or {}
    size = ""
    if detail.get("total"):
        size = f" {detail.get('current', 0) / 1e6:.1f} of {detail['total'] / 1e6:.1f} MB"
    return f"{update.get('id', '')}: {update.get('status', '')}{size}"
