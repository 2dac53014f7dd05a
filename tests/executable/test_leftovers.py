"""What killed one-file executables leave is removed, and nothing that is in use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infernet_edge.executable import MARK
from tests.support.client import eventually
from tests.support.disks import small_disk
from tests.support.executable import Executable
from tests.support.node import NodeProcess


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    (folder := tmp_path / "temporary").mkdir()
    return folder


@pytest.fixture
def nodes(executable: Executable, tmp_path: Path, temporary: Path) -> Iterator[list[NodeProcess]]:
    """Two nodes of one user that unpack themselves into the same folder, not yet started."""
    made = [
        NodeProcess(
            {}, tmp_path / name, command=[str(executable.file)], env={"TMPDIR": str(temporary)}
        )
        for name in ("one", "two")
    ]
    yield made
    for node in made:
        if node.running:
            node.stop()


def _bootloader(node: NodeProcess) -> int | None:
    return node.process.pid if node.process is not None else None


def _program(node: NodeProcess) -> int | None:
    """The process that the bootloader has started."""
    if node.process is None:
        return None
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children")
    try:
        found = children.read_text().split()
    except FileNotFoundError:
        return None
    return int(found[0]) if found else None


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return
    eventually(lambda: _ended(process))


def _ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _killed(node: NodeProcess) -> None:
    """Kill both processes at once, as the kernel does that has no memory left."""
    assert node.process is not None
    program = _program(node)
    assert program is not None
    os.kill(node.process.pid, signal.SIGKILL)
    _kill(program)
    node.process.wait()


def test_a_killed_node(nodes: list[NodeProcess], temporary: Path) -> None:
    node = nodes[0]
    node.start()
    [left] = temporary.iterdir()
    assert (left / MARK).exists()
    _killed(node)
    assert list(temporary.iterdir()) == [left]
    node.start()
    [new] = temporary.iterdir()
    assert new != left
    assert f"executable.leftover_removed path={left}" in node.log()
    assert node.stop() == 0
    assert list(temporary.iterdir()) == []


def test_the_demo_removes_it_and_other_commands_do_not(
    nodes: list[NodeProcess], temporary: Path, executable: Executable
) -> None:
    nodes[0].start()
    [left] = temporary.iterdir()
    _killed(nodes[0])

    def run(*arguments: str) -> str:
        environment = {**os.environ, "TMPDIR": str(temporary)}
        done = subprocess.run(
            [executable.file, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    assert f"MiB: {left}" in run("doctor")
    assert list(temporary.iterdir()) == [left]
    run("demo", "--once", "--no-podman")
    assert list(temporary.iterdir()) == []


def test_a_node_that_runs_beside(nodes: list[NodeProcess], temporary: Path) -> None:
    first, second = nodes
    first.start()
    [folder] = temporary.iterdir()
    second.start()
    assert folder in temporary.iterdir()
    # Without its bootloader, too: nobody will remove its folder at its end.
    bootloader, program = _bootloader(first), _program(first)
    assert bootloader is not None
    assert program is not None
    _kill(bootloader)
    assert first.exit_code() == -signal.SIGKILL
    assert second.stop() == 0
    second.start()
    assert folder in temporary.iterdir()
    assert "leftover_removed" not in second.log()
    _kill(program)
    assert second.stop() == 0
    second.start()
    assert folder not in temporary.iterdir()
    assert second.stop() == 0


def test_one_that_had_no_space_to_unpack(
    executable: Executable, nodes: list[NodeProcess], temporary: Path
) -> None:
    with small_disk(temporary, 10 * 2**20):
        environment = {**os.environ, "TMPDIR": str(temporary)}
        done = subprocess.run(
            [executable.file, "version"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert "Set TMPDIR" in done.stderr
        [left] = temporary.iterdir()
        elsewhere = temporary.parent / "elsewhere"
        elsewhere.mkdir()
        nodes[0].env |= {"TMPDIR": str(elsewhere), "TEMP": str(temporary)}
        nodes[0].start()
        assert list(temporary.iterdir()) == []
        assert f"path={left}" in nodes[0].log()
        assert nodes[0].stop() == 0
    shutil.rmtree(elsewhere)
