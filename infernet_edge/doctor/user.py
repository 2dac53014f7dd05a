"""Users: whom the node runs as, and what that user may do, as far as this process can find out."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import NamedTuple

_TIMEOUT = 20.0  # seconds; a disk that is failing may take long

# The kernel decides, so that access lists, read-only mounts and full disks count.
_WRITE = """
file=$(mktemp "$1/.doctor-XXXXXXXX") || exit
dd if=/dev/zero of="$file" bs=4096 count=1 conv=fsync status=none
code=$?
rm -f "$file"
exit $code
"""


class CannotLook(Exception):
    """What is to be found out is hidden from the user who runs this; the text says why."""


class User(NamedTuple):
    """An account, or a bare number."""

    name: str
    uid: int
    gid: int
    home: Path

    def may(self, path: Path, how: str) -> bool:
        """Whether this user may "r"ead, "w"rite or pass ("x") a path, with all folders above it.

        Blocks. Raises CannotLook.
        """
        tests = " && ".join(f'test -{letter} "$1"' for letter in how)
        return self._run(tests, path).returncode == 0

    def write_trouble(self, folder: Path) -> str:
        """Why this user cannot write a file into `folder`, in the system's words; "" when it can.

        Blocks: the file is written to the disk, and removed. Raises CannotLook.
        """
        done = self._run(_WRITE, folder)
        if done.returncode == 0:
            return ""
        lines = done.stderr.strip().splitlines()
        return lines[0].rpartition(": ")[2] if lines else "no reason was given"

    def _run(self, script: str, path: Path) -> subprocess.CompletedProcess[str]:
        own = os.geteuid()
        if own not in (0, self.uid):
            raise CannotLook(f"{this_user().name} cannot see what {self.name} may do")
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
            raise CannotLook(f"no test as {self.name} is possible ({error})") from error


def user_of(uid: int) -> User:
    """The account with this number; the number is its name when there is none. Blocks."""
    try:
        return _user(pwd.getpwuid(uid))
    except KeyError:
        return User(str(uid), uid, uid, Path("/"))


def this_user() -> User:
    """Who runs this. Blocks."""
    return user_of(os.getuid())


def user_named(name: str) -> User | None:
    """An account; None when there is none of this name. Blocks."""
    try:
        return _user(pwd.getpwnam(name))
    except KeyError:
        return None


def owner_of(path: Path) -> User | None:
    """Whose file it is; None when it cannot be seen. Blocks."""
    try:
        return user_of(path.stat().st_uid)
    except OSError:
        return None


def _user(entry: pwd.struct_passwd) -> User:
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))
