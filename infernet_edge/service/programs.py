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
from infernet_edge.service.commands import Runner, must
from infernet_edge.service.paths import Paths

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
        return self.folder / "infernet_edge/service/units"


def running_program() -> Program:
    """The executable that runs this very code."""
    return Program(Path(sys.executable).parent, __version__)


class Programs:
    """What is installed. Blocks."""

    def __init__(self, paths: Paths, run: Runner) -> None:
        self._paths = paths
        self._run = run

    def current(self) -> Program | None:
        """The one that the service runs; None when nothing is installed."""
        link = self._paths.current
        if not (link / PROGRAM).exists():
            return None
        folder = link.parent / link.readlink()
        return Program(folder, self.version_of(folder / PROGRAM))

    def place_of(self, program: Program) -> Path:
        """Where it is installed or, when it is not, will be.

        That is a folder named by the version; another build of the same version gets more letters.
        """
        digest = digest_of_folder(program.folder)
        folder = self._paths.programs / program.version
        if folder.exists() and digest_of_folder(folder) != digest:
            return folder.with_name(f"{program.version}+{digest[:8]}")
        return folder

    def version_of(self, executable: Path) -> str:
        """What an executable says of itself. Raises NotOurs when it does not run here."""
        output = self._run([str(executable), "version"], _RUN_TIMEOUT, self._temporary(executable))
        first = output.text.partition("\n")[0].split()
        if output.code != 0 or len(first) < 2 or first[0] != PROGRAM:
            said = output.text[-500:] or f"exit code {output.code}"
            raise NotOurs(f"{executable} is no infernet-edge that runs on this machine: {said}")
        return first[1]

    def add(self, program: Program) -> Program:
        """Install it beside the others; it is there whole or not at all."""
        folder = self.place_of(program)
        if not folder.exists():
            self._unpack(program.executable, folder)
        return Program(folder, program.version)

    def add_packed(self, binary: Path) -> Program:
        """Install a version from its one-file form. `binary` must lie where nobody else writes."""
        version = self.version_of(binary)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._paths.programs) as temporary:
            unpacked = Path(temporary, version)
            self._unpack(binary, unpacked)
            program = Program(unpacked, version)
            folder = self.place_of(program)
            if not folder.exists():
                unpacked.rename(folder)
        return Program(folder, version)

    def keep_only(self, *kept: Program) -> None:
        """Remove every other version."""
        for folder in self.folders() - {program.folder for program in kept}:
            shutil.rmtree(folder)

    def folders(self) -> set[Path]:
        """Those of all versions."""
        paths = self._paths.programs.iterdir()
        return {path for path in paths if path.is_dir() and not path.is_symlink()}

    def _unpack(self, executable: Path, folder: Path) -> None:
        command = [str(executable), "service", "unpack", str(folder)]
        must(self._run(command, _UNPACK_TIMEOUT, self._temporary(executable)), command)

    def _temporary(self, executable: Path) -> dict[str, str]:
        # The one-file form unpacks itself there; /tmp may be too small, or mounted noexec.
        return {"TMPDIR": str(executable.parent)}


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
