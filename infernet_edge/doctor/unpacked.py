"""Did a killed node leave the folder into which its executable unpacked itself?"""

from __future__ import annotations

import shlex

from infernet_edge import unpacked
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, warning

NAME = "unpacked"
NEEDS = ()


async def check(case: Case) -> Finding:
    """Find abandoned folders of this user where the one-file executable unpacks itself."""
    return await case.blocking(_check_blocking, case)


def _check_blocking(case: Case) -> Finding:
    paths = unpacked.abandoned(root=case.root)
    if not paths:
        return ok("no killed node left its unpacked executable")
    size = sum(map(unpacked.size_of, paths)) // 2**20
    shown = shlex.join(map(str, paths))
    return warning(
        f"killed nodes left their unpacked executables, {size} MiB: {shown}. The next start of the"
        " executable with run or demo removes them",
        command=f"rm -r {shown}",
    )
