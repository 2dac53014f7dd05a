"""Users, such as that of the node, and tests of their permissions."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import NamedTuple

_TIMEOUT = 20.0  # seconds; a failing disk may be slow

# The kernel decides, so that access lists, read-only mounts and full disks count.
_WRITE = """
file=$(mktemp "$1/.doctor-XXXXXXXX") || exit
dd if=/dev/zero of="$file" bs=4096 count=1 conv=fsync status=none
code=$?
rm -f "$file"
exit $code
"""


class CannotCheck(Exception):
    """The user who runs this cannot check something; the text says why."""


class User(NamedTuple):
    """An account, or only its number."""

    name: str
    uid: int
    gid: int
    home: Path

    def may(self, path: Path, how: str) -> bool:
        """Whether this user may "r"ead, "w"rite or enter ("x") a path, with all folders above it.

        Blocks. Raises CannotCheck.
        """
        tests = " && ".join(f'test -{letter} "$1"' for letter in how)
        return self._run(tests, path).returncode == 0

    def write_error(self, folder: Path) -> str:
        """Why this user cannot write a file into `folder`, as the system's message; "" when it can.

        Blocks: the file is written to the disk, and removed. Raises CannotCheck.
        """
        done = self._run(_WRITE, folder)
        if done.returncode == 0:
            return ""
        lines = done.stderr.strip().splitlines()
        return lines[0].rpartition(": ")[2] if lines else "no reason was given"

    def _run(self, script: str, path: Path) -> subprocess.CompletedProcess[str]:
        own = os.geteuid()
        if own not in (0, self.uid):
            raise CannotCheck(f"{this_user().name} cannot check the permissions of {self.name}")
        uid = gid = groups = None
        if own != self.uid:
            uid, gid, groups = self.uid, self.gid, os.getgrouplist(self.name, self.gid)
        try:
            return subprocess.run(  # noqa: S603  # the script is a constant; the path is its $1
                ["/bin/sh", "-c", script, "sh", str(path.absolute())],
                cwd="/",
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
                user=uid,
                group=gid,
                extra_groups=groups,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CannotCheck(f"a test as {self.name} is not possible ({error})") from error


def user_of(uid: int) -> User:
    """The account with this number; a missing one has the number as its name. Blocks."""
    try:
        return _user(pwd.getpwuid(uid))
    except KeyError:
        return User(str(uid), uid, uid, Path("/"))


def this_user() -> User:
    """The user of this process. Blocks."""
    return user_of(os.getuid())


def user_named(name: str) -> User | None:
    """An account; None when it does not exist. Blocks."""
    try:
        return _user(pwd.getpwnam(name))
    except KeyError:
        return None


def owner_of(path: Path) -> User | None:
    """The owner of a file; None when it cannot be read. Blocks."""
    try:
        return user_of(path.stat().st_uid)
    except OSError:
        return None


def _user(entry: pwd.struct_passwd) -> User:
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))
