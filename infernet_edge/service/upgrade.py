"""From one version to the next, and back when the next one does not get ready."""

from __future__ import annotations

import hmac
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infernet_edge.errors import InfernetEdgeError
from infernet_edge.executable import PROGRAM
from infernet_edge.service import access, unit
from infernet_edge.service.commands import Runner
from infernet_edge.service.installation import Installer
from infernet_edge.service.paths import Paths
from infernet_edge.service.programs import Program, Programs, digest_of_file
from infernet_edge.service.steps import carry_out

_CHECK_TIMEOUT = 60.0  # seconds


class UpgradeFailed(InfernetEdgeError):
    """The old version runs on, or runs again; the text says why."""


class Upgrade:
    """One upgrade of one machine. Blocks."""

    def __init__(
        self, installer: Installer, paths: Paths, run: Runner, tell: Callable[[str], None]
    ) -> None:
        self._installer = installer
        self._paths = paths
        self._run = run
        self._tell = tell
        self._programs = Programs(paths, run)

    def to(self, binary: Path, sha256: str, timeout: float) -> None:
        """Install the one-file executable `binary` and run it instead of the current version.

        `sha256` is compared with the file's, unless it is "". A version that is not ready after
        `timeout` seconds is removed, and the current one runs again. Raises UpgradeFailed, NotOurs.
        """
        old = self._programs.current()
        if old is None:
            raise UpgradeFailed(
                f"Nothing is installed yet. Install it with: sudo {binary} service install"
            )
        kept = self._programs.folders()
        with self._own_copy(binary) as copy:
            _verify(binary, copy, sha256, self._tell)
            new = self._programs.add_packed(copy)
        if new == old:
            self._tell(f"Version {new.version} runs already; nothing was changed.")
            return
        try:
            self._check_configuration(new)
            self._exchange(old, new, timeout)
        except BaseException:
            if new.folder not in kept:
                shutil.rmtree(new.folder)
            raise
        self._programs.keep_only(old, new)
        self._tell(f"Version {new.version} runs; {old.version} is kept, all others are removed.")

    @contextmanager
    def _own_copy(self, binary: Path) -> Iterator[Path]:
        """The file where nobody can change it between its check and its start."""
        with tempfile.TemporaryDirectory(prefix=".given-", dir=self._paths.programs) as folder:
            copy = Path(folder, PROGRAM)
            try:
                shutil.copyfile(binary, copy)
            except OSError as error:
                raise UpgradeFailed(f"{binary} cannot be read: {error.strerror}") from error
            copy.chmod(0o755)
            yield copy

    def _check_configuration(self, new: Program) -> None:
        file = self._paths.configuration()
        command = [str(new.executable), "check", *(["--config", str(file)] if file else [])]
        output = self._run(command, _CHECK_TIMEOUT, access.environment(self._paths))
        if output.code != 0:
            raise UpgradeFailed(
                f"Version {new.version} cannot use this configuration; nothing was changed.\n"
                + output.text
            )

    def _exchange(self, old: Program, new: Program, timeout: float) -> None:
        self._tell(f"Starting version {new.version} in place of {old.version}")
        try:
            carry_out(self._installer.activate(new), self._tell)
            unit.restart(self._run, timeout)
        except BaseException as error:  # a Ctrl+C too
            self._go_back(old, timeout, error)
            raise UpgradeFailed(
                f"Version {new.version} was taken back and {old.version} runs again.\n{error}"
            ) from error

    def _go_back(self, old: Program, timeout: float, reason: BaseException) -> None:
        self._tell(f"Going back to version {old.version}")
        carry_out(self._installer.activate(old), self._tell)
        try:
            unit.restart(self._run, timeout)
        except unit.NotReady as error:
            raise UpgradeFailed(
                f"The new version was taken back. {reason}\n"
                f"Version {old.version} does not start any more either. {error}\n"
                "Look at: infernet-edge service logs; infernet-edge doctor"
            ) from error


def expected_digest(binary: Path, given: str | None) -> str:
    """The SHA-256 to compare with: the given one, else that in BINARY.sha256, else "".

    Raises UpgradeFailed when it is none.
    """
    beside = binary.with_name(f"{binary.name}.sha256")
    text = given
    if text is None and beside.exists():
        text = beside.read_text("utf-8", "replace").partition(" ")[0]  # as sha256sum writes it
    if text is None:
        return ""
    digest = text.strip().lower()
    if len(digest) != 64 or any(digit not in "0123456789abcdef" for digit in digest):
        raise UpgradeFailed(f"{text!r} is no SHA-256: it has 64 hexadecimal digits.")
    return digest


def _verify(binary: Path, copy: Path, sha256: str, tell: Callable[[str], None]) -> None:
    found = digest_of_file(copy)
    if not sha256:
        tell(f"SHA-256 {found}, compared with nothing: give --sha256 or the file {binary}.sha256")
    elif not hmac.compare_digest(found, sha256):
        raise UpgradeFailed(
            f"{binary} is not the file it should be; nothing was changed.\n"
            f"  expected SHA-256 {sha256}\n  found            {found}\nDownload it again."
        )
