"""One check of the doctor on its own, and the parts of a machine that it looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infernet_edge.config.model import Config
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, together


async def finding(check: Any, config: Config, **options: Any) -> Finding:
    """What a check says of a configuration, as one; `options` are those of Case."""
    return together(await findings(check, config, **options))


async def findings(check: Any, config: Config, **options: Any) -> list[Finding]:
    """The same, each on its own."""
    case = Case(config, **options)
    try:
        found: Finding | list[Finding] = await check.check(case)
        return [found] if isinstance(found, Finding) else found
    finally:
        await case.close()


def with_file(root: Path, path: str, text: str = "") -> Path:
    """Put a file into a folder that stands for a machine's /; returns the folder."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    return root
