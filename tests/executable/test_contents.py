"""What the executable weighs and holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infernet_edge.cli.main import COMMANDS, module_of
from infernet_edge.executable import unpack
from tests.support.executable import Executable

_MOST = 15_000_000  # bytes
_GLIBC = (2, 35)  # that of Ubuntu 22.04, which JetPack 6 is


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
    assert set(map(module_of, COMMANDS)) <= inside
    assert {
        "pydantic.json_schema",
        "regex",
        "py_ecc.bls",
        "multiprocessing",
        "typing_extensions",
    } <= inside
    unwanted = re.compile(
        r"(mypy|pytest|_pytest|pip|setuptools|tkinter|unittest|pydoc|click|trio|curses)(\.|$)"
        r"|pydantic\.(v1|deprecated|mypy)|Crypto\.(PublicKey|SelfTest)|.*\.tests?(\.|$)"
        r"|(xml|plistlib|pyexpat|_elementtree)(\.|$)"
        r"|(yaml|cytoolz|h11|websockets|wsproto|smtplib|ftplib)(\.|$)"
        r"|aiohttp|uvicorn\.(main|supervisors)|urllib3\.contrib\.|anyio\.itertools"
        # What substitutes stand for.
        r"|pydantic_core|pydantic\.main|py_ecc\.fields|multiprocessing\.|_?regex\.|bitarray\._"
    )
    assert sorted(filter(unwanted.match, inside)) == []
    folder = executable.program.parent
    libraries = ("libstdc++.so.6", "libreadline.so.8", "liblzma.so.5", "libbz2.so.1.0")
    replaced = ("pydantic_core", "cytoolz", "regex", "bitarray", "yaml", "ckzg")
    for name in ("mypy", "Crypto/PublicKey", "click", *libraries, *replaced):
        assert not (folder / name).exists()
    described = [*folder.glob("*.dist-info/*")]
    assert {file.name for file in described} == {"METADATA"}
    assert max(file.stat().st_size for file in described) < 100
    for name in ("infernet_edge/demo/example_service.py", "anyio/__init__.py"):
        assert (folder / name).exists()


def _glibc_needed(file: Path) -> tuple[int, ...]:
    """The highest version of glibc that a library or program asks for."""
    done = subprocess.run(
        ["objdump", "-T", str(file)], capture_output=True, text=True, timeout=60, check=True
    )
    versions = re.findall(r"GLIBC_([\d.]+)", done.stdout)
    return max((tuple(map(int, version.split("."))) for version in versions), default=(0,))


def _is_elf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def _assert_old_glibc_is_enough(executable: Executable) -> None:
    files = [file for file in executable.program.parent.rglob("*") if file.is_file()]
    libraries = [executable.file, *filter(_is_elf, files)]
    assert len(libraries) > 40
    needed = {file.name: _glibc_needed(file) for file in libraries}
    assert needed[executable.program.name] > (2,)
    assert {name: version for name, version in needed.items() if version > _GLIBC} == {}


def test_no_library_needs_a_newer_glibc(executable: Executable) -> None:
    _assert_old_glibc_is_enough(executable)


@pytest.mark.timeout(240)
def test_nor_when_debians_python_builds_it(debian_executable: Executable, tmp_path: Path) -> None:
    """Its libpython is linked with expat, which needs a newer one; the ARM64 build is like it."""
    _assert_old_glibc_is_enough(debian_executable)
    assert debian_executable.file.stat().st_size <= _MOST
    for command, said in (
        (["version"], "infernet-edge "),
        (["check"], "no errors"),
        (["demo", "--once", "--no-podman"], '{"rating": "positive", "confidence": '),
        (["service", "unpack", str(tmp_path / "unpacked")], ""),
    ):
        done = subprocess.run(
            [debian_executable.file, *command],
            env={**os.environ, "INFERNET_EDGE_STORAGE__PATH": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_an_unpacked_copy_works(
    executable: Executable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(executable.program))
    program = unpack(tmp_path / "opt" / "1.0")
    done = subprocess.run([program, "check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
