"""The executable, built once for each state of the sources, and a Debian without Python to try it.

executable = built()                      # by this Python; or by Debian's: built_by_debian()
subprocess.run([executable.file, "version"])
BareRoot(tmp_path, executable).run("version")
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.locks import only_one
from tests.support.podman import need
from tests.support.process import ROOT

_CACHE = ROOT / ".cache/tests/executable"
_SUITE = "bookworm"  # Debian 12, the oldest that the README names
_ROOT_PACKAGES = ("libc6", "zlib1g", "dash", "coreutils", "mount")


class Executable(NamedTuple):
    """Both forms of the executable: the one file, and the program in the unpacked folder."""

    file: Path
    program: Path


def built() -> Executable:
    """Build it, unless that was done for the same sources; some 25 seconds. Needs binutils."""
    return _built([sys.executable], _CACHE)


def already_built() -> Executable | None:
    """What `built` has built for these sources; None where it has not."""
    folder = _CACHE / _state()
    return _in(folder) if folder.exists() else None


def built_by_debian() -> Executable:
    """The same by the Python of Debian's packages, whose libpython is linked in another way.

    The libraries are those of this Python. Skips where that is another version.
    """
    python = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"
    need(str(python))
    # -S leaves out the libraries of Debian's packages.
    return _built([str(python), "-S"], _CACHE.with_name("executable-debian"))


def _built(python: Sequence[str], cache: Path) -> Executable:
    need("objdump")
    with only_one(cache.with_suffix(".lock")):
        folder = cache / _state()
        if not folder.exists():
            _build(python, folder)
    return _in(folder)


def _in(folder: Path) -> Executable:
    return Executable(folder / "infernet-edge", folder / "infernet-edge-unpacked/infernet-edge")


def _build(python: Sequence[str], folder: Path) -> None:
    cache = folder.parent
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        command = (*python, "-m", "PyInstaller", "--log-level", "WARN", "--noconfirm")
        places = ("--distpath", f"{work}/made", "--workpath", f"{work}/build")
        libraries = {"PYTHONPATH": sysconfig.get_path("purelib")}
        _run([*command, *places, "pyinstaller.spec"], timeout=300, environment=libraries)
        Path(work, "made").rename(folder)


def _state() -> str:
    digest = hashlib.sha256(f"{sys.version} {platform.machine()}".encode())
    files = [ROOT / "pyinstaller.spec", ROOT / "tests/requirements.lock"]
    files += (ROOT / "infernet_edge").rglob("*.py")
    files += (ROOT / "infernet_edge/docs").iterdir()
    files += (ROOT / "infernet_edge/completions").iterdir()
    files += (ROOT / "infernet_edge/substitutes").rglob("*.py")
    files += (ROOT / "systemd").iterdir()
    for file in sorted(files):
        digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class BareRoot:
    """The root of a Debian that has a C library, zlib, a shell and no Python.

    Commands run in it with a mount namespace of their own, so that nothing stays mounted.
    """

    def __init__(self, folder: Path, executable: Executable) -> None:
        for program in ("mmdebstrap", "unshare"):
            need(program)
        self.folder = folder
        archive = debian_archive()
        _run(
            [
                *("tar", "--extract", "--file", str(archive), "--directory", str(folder)),
                *("--no-same-owner", "--exclude=./dev/*"),
            ],
            timeout=60,
        )
        for name in ("proc", "dev", "home", "var/tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "tmp").chmod(0o1777)
        shutil.copy(executable.file, folder / "home")

    def run(
        self,
        *arguments: str,
        mounted: Sequence[str] = (),
        environment: Mapping[str, str | None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the one-file executable; `mounted` are arguments of mount before it, with {root}.

        `environment` is laid over PATH and HOME; None takes a variable away.
        """
        lines = [f"mount {line.format(root=self.folder)}" for line in mounted]
        lines += [f"mount --rbind /{name} {self.folder}/{name}" for name in ("proc", "dev")]
        given = {"PATH": "/usr/bin:/bin", "HOME": "/home", **(environment or {})}
        said = " ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        lines.append(f'exec env -i {said} "$0" {self.folder} /home/infernet-edge "$@"')
        chroot = shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        return subprocess.run(
            [
                *("unshare", "--user", "--map-root-user", "--mount", "--fork", "--kill-child"),
                *("sh", "-ec", "\n".join(lines), str(chroot), *arguments),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def debian_archive() -> Path:
    """An archive of the root, made once; some 10 seconds."""
    archive = ROOT / f".cache/tests/{_SUITE}.tar"
    with only_one(archive.with_suffix(".lock")):
        if not archive.exists():
            made = archive.with_suffix(".part")
            packages = ",".join(_ROOT_PACKAGES)
            _run(
                [
                    *("mmdebstrap", "--quiet", "--variant=extract", "--format=tar"),
                    *(f"--include={packages}", _SUITE, str(made)),
                ],
                timeout=100,
            )
            made.rename(archive)
    return archive


def _run(
    command: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr}"
