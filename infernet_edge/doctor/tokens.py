"""Can the tokens that `token new` made be used, and does the node need any?"""

from __future__ import annotations

import os

from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.user import CannotCheck
from infernet_edge.storage.token_file import DamagedTokens, TokenFile

NAME = "tokens"
NEEDS = ("storage.path", "server.tokens")

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_HIDDEN = "only the node's user and root may read them"


async def check(case: Case) -> Finding:
    """Read the file of the tokens, as the node does."""
    return await case.blocking(_check_blocking, case)


def _check_blocking(case: Case) -> Finding:
    file = TokenFile(case.config.storage_path.absolute())
    if not os.access(file.path.parent, os.X_OK) and file.path.parent.exists():
        return not_checked(_HIDDEN, "run the doctor with sudo")
    try:
        made = len(file.read().valid)
    except DamagedTokens as error:
        if isinstance(error.__cause__, PermissionError):
            return not_checked(_HIDDEN, "run the doctor with sudo")
        return problem(
            f"the file of tokens {file.path} cannot be used: {error}. Every token in it is refused,"
            " and the node stays closed",
            f"restore it from a backup and restart the node, or make new tokens:"
            f" {case.command('token', 'new', 'NAME', '--scope', 'SCOPE', '--replace-damaged')}",
        )
    try:
        if case.user is not None and file.path.exists() and not case.user.may(file.path, "r"):
            return problem(
                f"{case.user.name}, the user of the node, may not read {file.path}: every token in"
                " it is refused",
                command=as_root("chown", f"{case.user.name}:", file.path),
            )
    except CannotCheck as error:
        return not_checked(str(error), "run the doctor with sudo")
    configured = len(case.config.server.tokens)
    if made or configured:
        return ok(f"{made} made, {configured} in server.tokens: every client needs one")
    if case.config.server.host in _LOOPBACK:
        return ok("none; only this machine reaches the node")
    return ok(
        "none: everyone on the network may submit jobs. The first one closes the node:"
        f" {case.command('token', 'new', 'NAME', '--scope', 'submit')}"
    )
