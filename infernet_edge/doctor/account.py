"""The account that opens device files: user and groups of a unit, or of this process."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infernet_edge.config import paths
from infernet_edge.config.paths import SYSTEM_FILES
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.user import this_user

_UNITS = (paths.UNITS, "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
PODMAN_UNIT = "infernet-edge-podman.service"


class Account(NamedTuple):
    """A user with groups. `unit` is the systemd unit that runs as it; "": this process does."""

    name: str
    user: int
    groups: frozenset[int]
    unit: str = ""

    @property
    def is_root(self) -> bool:
        return self.user == 0

    def may_open(self, file: Path) -> bool:
        """Whether the mode of a file lets this user read and write it, path_resolution(7).

        For this process the kernel decides (access(2)), with access control lists. False when the
        file does not exist. Blocks for a moment.
        """
        if not self.unit and os.access(file, os.R_OK | os.W_OK):
            return True
        try:
            found = file.stat()
        except OSError:
            return False
        if self.is_root:
            return True
        if found.st_uid == self.user:
            needed = stat.S_IRUSR | stat.S_IWUSR
        elif found.st_gid in self.groups:
            needed = stat.S_IRGRP | stat.S_IWGRP
        else:
            needed = stat.S_IROTH | stat.S_IWOTH
        return found.st_mode & needed == needed

    @property
    def who(self) -> str:
        """The user's name for a text, marked when it is the installed service's."""
        return f"the service's user {self.name}" if self.unit else self.name


def node_account(case: Case) -> Account:
    """The account of the node: the installed service's user, if this is its configuration.

    The doctor may run as root or as any other user. Blocks.
    """
    return _service(case, paths.NODE_UNIT) or _this_process()


def podman_account(case: Case) -> Account:
    """The account of Podman beside the installed service; otherwise of this process. Blocks."""
    return _service(case, PODMAN_UNIT) or _this_process()


def _service(case: Case, unit: str) -> Account | None:
    if case.source not in (None, *SYSTEM_FILES):
        return None  # of a node that is started by hand
    root = case.root
    settings = _settings(root, unit) if _settings(root, paths.NODE_UNIT) else {}
    if not settings:
        return None
    user = _user(root, (settings.get("User") or ["root"])[-1])
    # Group= stands for the one in /etc/passwd; the others are those of the user and of the unit.
    first = settings.get("Group", [])[-1:]
    named = {*first, *" ".join(settings.get("SupplementaryGroups", [])).split()}
    groups = {
        group.number
        for group in _groups(root)
        if user.name in group.members or named & {group.name, str(group.number)}
    }
    return Account(
        user.name, user.number, frozenset(groups if first else {*groups, user.group}), unit
    )


def _this_process() -> Account:
    return Account(this_user().name, os.geteuid(), frozenset((*os.getgroups(), os.getegid())))


def _settings(root: Path, unit: str) -> dict[str, list[str]]:
    """The settings of a unit and its drop-ins, systemd.unit(5); {} when it is not installed."""
    file = next((found for at in _UNITS if (found := root / at / unit).is_file()), None)
    if file is None:
        return {}
    drop_ins = (found for at in _UNITS for found in (root / at / f"{unit}.d").glob("*.conf"))
    settings: dict[str, list[str]] = {"Unit": [unit]}
    for each in (file, *sorted(drop_ins, key=lambda found: found.name)):
        for line in _lines(each):
            key, separator, value = line.partition("=")
            if separator and not line.lstrip().startswith(("#", ";")):
                values = settings.setdefault(key.strip(), [])
                if not value.strip():  # an empty value removes those before it
                    values.clear()
                else:
                    values.append(value.strip())
    return settings


class _User(NamedTuple):
    name: str
    number: int
    group: int


class _Group(NamedTuple):
    name: str
    number: int
    members: list[str]


def _user(root: Path, name: str) -> _User:
    """A user by name or number; one with the number -1 when it does not exist here."""
    root_user = _User("root", 0, 0)
    users = (user for user in (*_users(root), root_user) if name in (user.name, str(user.number)))
    return next(users, _User(name, -1, -1))


def _users(root: Path) -> Iterator[_User]:
    """Those of passwd(5)."""
    for fields in (line.split(":") for line in _lines(root / "etc/passwd")):
        if len(fields) > 3 and fields[2].isdecimal() and fields[3].isdecimal():
            yield _User(fields[0], int(fields[2]), int(fields[3]))


def _groups(root: Path) -> Iterator[_Group]:
    """Those of group(5)."""
    for fields in (line.split(":") for line in _lines(root / "etc/group")):
        if len(fields) > 2 and fields[2].isdecimal():
            yield _Group(fields[0], int(fields[2]), "".join(fields[3:4]).split(","))


def group_name(root: Path, number: int) -> str:
    """The name of a group; its number where it has none. Blocks."""
    found = (group.name for group in _groups(root) if group.number == number)
    return next(found, str(number))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
