"""Commands that fix something, as a user can paste them into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from infernet_edge.doctor.user import User
from infernet_edge.executable import PROGRAM, is_frozen

_PUBLIC_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")  # in the PATH of sudo


def line(*words: str | Path) -> str:
    """One command, each word quoted where a shell needs that."""
    return shlex.join(map(str, words))


def as_root(*words: str | Path) -> str:
    """A command that needs root; a machine where the user is root may have no sudo."""
    return line(*([] if os.geteuid() == 0 else ["sudo"]), *words)


def as_owner(owner: User | None, *words: str | Path) -> str:
    """A command that the owner of a file may run, and root."""
    if owner is not None and owner.uid == os.geteuid():
        return line(*words)
    return as_root(*words)


def install_package(name: str) -> str:
    """Install a package of the distribution; "" where that is not Debian or of its family."""
    if shutil.which("apt-get") is None:
        return ""
    return f"{as_root('apt-get', 'update')} && {as_root('apt-get', 'install', '--yes', name)}"


def program() -> list[str]:
    """How to start this program again, from any folder and by sudo."""
    if is_frozen():
        own = os.path.realpath(sys.executable)
        found = shutil.which(PROGRAM, path=os.pathsep.join(_PUBLIC_FOLDERS))
        return [PROGRAM if found is not None and os.path.realpath(found) == own else own]
    script = Path(sys.argv[0])
    if script.name == PROGRAM and script.is_file():
        return [str(script.absolute())]
    return [sys.executable, "-m", "infernet_edge"]
