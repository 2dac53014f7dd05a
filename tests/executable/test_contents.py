"""What the executable weighs and holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infernet_edge.cli.main import COMMANDS
from infernet_edge.executable import unpack
from tests.support.executable import Executable

_MOST = 20 * 2**20  # bytes
_GLIBC = (2, 36)  # that of Debian 12


def test_it_is_small(executable: Executable) -> None:
    assert executable.file.stat().st_size <= _MOST


def test_what_is_not_used_is_not_in_it(executable: Executable) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller.utils.cliutils.archive_viewer"),
            *("--list", "--recursive", "--brief", str(executable.program)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    inside = set(re.findall(r"[\w.]+", done.stdout))
    assert {f"infernet_edge.cli.{command}" for command in COMMANDS} <= inside
    unwanted = re.compile(
        r"(mypy|pytest|_pytest|pip|setuptools|tkinter|unittest|pydoc|click|trio|curses)(\.|$)"
        r"|pydantic\.(v1|deprecated|mypy)|Crypto\.(PublicKey|SelfTest)|.*\.tests?(\.|$)"
    )
    assert sorted(filter(unwanted.match, inside)) == []
    folder = executable.program.parent
    libraries = ("libstdc++.so.6", "libreadline.so.8", "liblzma.so.5", "libbz2.so.1.0")
    for name in ("mypy", "Crypto/PublicKey", "click", *libraries):
        assert not (folder / name).exists()
    for name in ("infernet_edge/demo/example_service.py", "anyio/__init__.py"):
        assert (folder / name).exists()


def test_no_library_needs_a_newer_debian(executable: Executable) -> None:
    files = executable.program.parent.rglob("*")
    libraries = [file for file in files if re.search(r"\.so(\.[\d.]+)?$", file.name)]
    assert len(libraries) > 40
    done = subprocess.run(
        ["objdump", "-T", *map(str, libraries), str(executable.program), str(executable.file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    needed = {tuple(map(int, each)) for each in re.findall(r"GLIBC_(\d+)\.(\d+)", done.stdout)}
    assert needed
    assert max(needed) <= _GLIBC


def test_an_unpacked_copy_works(
    executable: Executable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(executable.program))
    program = unpack(tmp_path / "opt" / "1.0")
    done = subprocess.run([program, "check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
