"""Is there a configuration, and is it without errors?"""

from __future__ import annotations

import os
from pathlib import Path

from infernet_edge.config.errors import Information, PermissionWarning
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.user import this_user

NAME = "configuration"
NEEDS = ()

_NAME_IT = "run the doctor with sudo, or name another configuration with --config"


async def check(case: Case) -> list[Finding]:
    """Report each error and each warning of its loading."""
    if case.source is None and not case.problems and not case.warnings:
        return [
            warning(
                "no file was found, so the defaults apply: no containers, the chain is off",
                command=case.command("init", "--output", await case.blocking(_here)),
            )
        ]
    where = case.source or "the environment"
    correct = f"correct it in {where}"
    if case.source is not None and not await case.blocking(os.access, case.source, os.R_OK):
        name = (await case.blocking(this_user)).name
        return [problem(f"{name} may not read {case.source}, or it does not exist", _NAME_IT)]
    found = [problem(str(error), correct) for error in case.problems]
    found += [
        warning(text, f"correct or remove it in {where}")
        for text in case.warnings
        # The check of secrets reports the permissions.
        if not isinstance(text, PermissionWarning | Information)
    ]
    if found:
        return found
    return [ok(f"{case.source or 'the defaults'}: no errors")]


def _here() -> str:
    """The first place of a configuration, as an absolute path."""
    return str(Path.cwd() / "config.json")
