"""Did killed nodes leave containers or folders?"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from infernet_edge.containers.leftovers import abandoned, folders_of, foreign
from infernet_edge.containers.podman import Found
from infernet_edge.containers.specification import NODE_LABEL, STORAGE_LABEL, node_name
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, warning
from infernet_edge.errors import EngineError
from infernet_edge.folders import abandoned_folders
from infernet_edge.storage.lock import is_in_use

NAME = "leftovers"
NEEDS = ("storage.path", "podman", "manage_containers")


async def check(case: Case) -> Finding:
    """List what belongs to a node that does not run, with the command that removes it."""
    texts: list[str] = []
    commands: list[str] = []
    found: list[Found] = []
    is_unavailable = False
    if case.needs_podman:
        try:
            engine = await case.engine()
            found = await case.blocking(engine.containers)
        except EngineError:
            is_unavailable = True
    if left := await case.blocking(_left, case, found):
        texts += await case.blocking(_describe, case, left)
        remote = [] if case.connection.daemon.running else ["--url", engine.url]
        command = ["podman", *remote, "rm", "--force", "--volumes"]
        commands.append(shlex.join([*command, *(each.name for each in left)]))
    if folders := await case.blocking(abandoned_folders, folders_of(found)):
        names = [str(path) for path in folders]
        texts.append(f"killed nodes left {', '.join(names)}; the next start of a node removes them")
        commands.append(shlex.join(["rm", "-r", *names]))
    if texts:
        return warning("; ".join(texts), command="; ".join(commands))
    if is_unavailable:
        return not_checked("Podman does not answer")
    return ok("no containers or folders of nodes that do not run")


def _left(case: Case, found: Sequence[Found]) -> list[Found]:
    """The containers of nodes that do not run, this one included."""
    node = node_name(case.config.storage_path)
    left = foreign(found, node)
    if not _is_running(case):
        left += [each for each in found if each.labels.get(NODE_LABEL) == node]
    return left


def _is_running(case: Case) -> bool:
    try:
        return is_in_use(case.config.storage_path)
    except OSError:
        return True


def _describe(case: Case, left: Sequence[Found]) -> list[str]:
    """One text for each node."""
    own = node_name(case.config.storage_path)
    certain = {each.id for each in abandoned(left, own)}
    texts: dict[str, str] = {}
    for each in left:
        node = each.labels.get(NODE_LABEL, "")
        names = ", ".join(one.name for one in left if one.labels.get(NODE_LABEL) == node)
        storage = each.labels.get(STORAGE_LABEL)
        if node == own:
            text = f"{names}: of this node, which was killed; its next start adopts them"
        elif each.id in certain:
            text = f"{names}: of a node whose data in {storage} does not exist; the next start of a"
            text += " node removes them"
        else:
            of = f" with its data in {storage}" if storage else ""
            text = f"{names}: of another node{of} that does not seem to run; if it will be started"
            text += " again, keep them"
        texts.setdefault(node, text)
    return list(texts.values())
