"""The versions of the program beside each other, one folder each, and which of them is current."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from msgspec import Struct

from infernet_edge import __version__
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.executable import PROGRAM
from infernet_edge.installer.commands import Runner, must
from infernet_edge.installer.paths import Paths
from infernet_edge.installer.steps import replace_file, sync_folder

_RUN_TIMEOUT = 60.0  # seconds for a program to say its version
_UNPACK_TIMEOUT = 300.0  # seconds; an SD card may be slow


class NotOurs(InfernetEdgeError):
    """A file is not an executable of this node."""


class Program(Struct, frozen=True):
    """The unpacked form of one version."""

    folder: Path
    version: str

    @property
    def executable(self) -> Path:
        return self.folder / PROGRAM

    @property
    def units(self) -> Path:
        """The unit files that came with it."""
        return self.folder / "infernet_edge/installer/units"


def running_program() -> Program:
    """The executable that runs this very code."""
    return Program(Path(sys.executable).parent, __version__)


class Programs:
    """What is installed. Blocks."""

    def __init__(self, paths: Paths, run: Runner) -> None:
        self._paths = paths
        self._run = run

    def current(self) -> Program | None:
        """The one that the service runs, whole or not; None when nothing is installed."""
        return self._linked(self._paths.current)

    def previous(self) -> Program | None:
        """The one that ran before, which is kept; None when there is none."""
        program = self._linked(self._paths.previous)
        return None if program == self.current() else program

    def _linked(self, link: Path) -> Program | None:
        if not link.is_symlink() or not link.is_dir():
            return None
        folder = link.parent / link.readlink()
        return Program(folder, folder.name.partition("+")[0])

    def place_of(self, program: Program) -> Path:
        """Where it is installed or, when it is not, will be.

        That is a folder named by the version; another build of the same version gets more letters.
        """
        digest = digest_of_folder(program.folder)
        folder = self._paths.programs / program.version
        noted = self._installed_digest(folder)
        if folder.exists() and _is_digest(noted) and noted != digest:
            return folder.with_name(f"{program.version}+{digest[:8]}")
        return folder

    def is_intact(self, installed: Program, program: Program | None = None) -> bool:
        """Whether all files of an installed version are what they were when it was installed.

        With a `program`, whether they are that one's. Reads all of them.
        """
        wanted = program and digest_of_folder(program.folder)
        try:
            found = digest_of_folder(installed.folder)
        except OSError:  # a file is gone, or the disk cannot read it
            return False
        return found == (wanted or self._installed_digest(installed.folder) or found)

    def _installed_digest(self, folder: Path) -> str:
        """What was noted of a version when it was installed; "" when nothing was."""
        try:
            return _digest_file(folder).read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""

    def version_of(self, executable: Path) -> str:
        """The version that an executable reports. Raises NotOurs when it does not run here."""
        output = self._run([str(executable), "version"], _RUN_TIMEOUT, self._temporary(executable))
        first = output.text.partition("\n")[0].split()
        if output.code != 0 or len(first) < 2 or first[0] != PROGRAM:
            said = output.text[-500:] or f"exit code {output.code}"
            raise NotOurs(
                f"{executable} is not an infernet-edge executable that runs on this machine: {said}"
            )
        return first[1]

    def add(self, program: Program) -> Program:
        """Install it beside the others; it is there whole or not at all.

        One that is there and damaged is replaced.
        """
        version = program.version
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._paths.programs) as temporary:
            unpacked = Path(temporary, version)
            self._unpack(program.executable, unpacked)
            return self._place(Program(unpacked, version))

    def add_packed(self, binary: Path) -> Program:
        """Install a version from its one-file form. `binary` must be safe from other users."""
        version = self.version_of(binary)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._paths.programs) as temporary:
            unpacked = Path(temporary, version)
            self._unpack(binary, unpacked)
            return self._place(Program(unpacked, version))

    def _place(self, unpacked: Program) -> Program:
        """Move an unpacked version to its place, unless it is there and whole."""
        folder = self.place_of(unpacked)
        placed = Program(folder, unpacked.version)
        if self.is_intact(placed, unpacked):
            return placed
        replace_file(_digest_file(folder), f"{digest_of_folder(unpacked.folder)}\n", 0o644)
        if folder.exists():
            folder.rename(unpacked.folder.with_name("damaged"))  # goes with the folder
        unpacked.folder.rename(folder)
        sync_folder(folder.parent)
        return placed

    def keep_only(self, *kept: Program) -> None:
        """Remove every other version."""
        for folder in self.folders() - {program.folder for program in kept}:
            self.remove(folder)

    def remove_leftovers(self) -> None:
        """Remove what upgrades that were killed left. Only with the lock of trial.py."""
        for prefix in (".given-", ".new-"):
            for path in self._paths.programs.glob(f"{prefix}*"):
                shutil.rmtree(path, ignore_errors=True)

    def remove(self, folder: Path) -> None:
        """Remove a version, damaged or not."""
        shutil.rmtree(folder, ignore_errors=True)
        _digest_file(folder).unlink(missing_ok=True)

    def folders(self) -> set[Path]:
        """Those of all versions."""
        paths = self._paths.programs.iterdir()
        return {
            path
            for path in paths
            if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
        }

    def _unpack(self, executable: Path, folder: Path) -> None:
        command = [str(executable), "service", "unpack", str(folder)]
        must(self._run(command, _UNPACK_TIMEOUT, self._temporary(executable)), command)

    def _temporary(self, executable: Path) -> dict[str, str]:
        # The one-file form unpacks itself there; /tmp may be too small, or mounted noexec.
        return {"TMPDIR": str(executable.parent)}


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)


def _digest_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.sha256")


def digest_of_file(path: Path) -> str:
    """SHA-256, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_folder(folder: Path) -> str:
    """SHA-256 of the names and contents of all files in it."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{digest_of_file(path)}\0".encode())
    return digest.hexdigest()
