"""Is there a configuration, and does it say what its author meant?"""

from __future__ import annotations

from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, warning

NAME = "configuration"


async def check(case: Case) -> Finding:
    """Hand on what its loading had to say. One with mistakes does not get as far as here."""
    if case.warnings:
        return warning("; ".join(case.warnings), "infernet-edge check")
    if case.source is None:
        return warning(
            "no file was found, so the defaults apply: no containers, the chain is off",
            "infernet-edge init",
        )
    return ok(f"{case.source} has no mistakes")
