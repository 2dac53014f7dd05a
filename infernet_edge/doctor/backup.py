"""Can the node write its scheduled backups, and did it?"""

from __future__ import annotations

from pathlib import Path

from infernet_edge.control.client import NotRunning
from infernet_edge.doctor.commands import as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.storage import HIDDEN

NAME = "backup"
NEEDS = ("backup",)


async def check(case: Case) -> Finding:
    """Write a small file into backup.path as the node's user; look up how the last backup ended."""
    path = case.config.backup.path
    if path is None:
        return ok("no scheduled backups (backup.path is not set)")
    if case.user is None:
        return not_checked("the service's account does not exist")
    folder = Path(path)
    finding = await case.blocking(_check_folder, case, folder)
    if finding.level != "ok":
        return finding
    try:
        report = (await case.status()).get("backup") or {}
    except NotRunning:
        return finding
    if report.get("problem"):
        return problem(report["problem"], "correct that; the node tries again within an hour")
    last = report.get("last")
    return ok(f"{finding.text}; the last backup: {last['file'] if last else 'none yet'}")


def _check_folder(case: Case, folder: Path) -> Finding:
    if case.user is None:
        return not_checked("the service's account does not exist")
    if case.is_service and any(folder.is_relative_to(hidden) for hidden in HIDDEN):
        return problem(
            f"{folder} (backup.path) is hidden from the service, as all of {', '.join(HIDDEN)} is",
            "set backup.path to a folder elsewhere",
        )
    if not folder.is_dir():
        return problem(
            f"there is no folder {folder} (backup.path), so no backup can be made",
            "connect its disk, or make the folder and give it to the node's user:",
            command=as_root("install", "-d", "-m", "700", "-o", case.user.name, folder),
        )
    if error := case.user.write_error(folder):
        return problem(
            f"{case.user.name} cannot write {folder} (backup.path): {error}",
            "give the folder to that user; a FAT or exFAT disk has to be mounted with uid="
            f"{case.user.uid}",
            command=as_root("chown", case.user.name, folder),
        )
    return ok(f"{folder} can be written by {case.user.name}")
