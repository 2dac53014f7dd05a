from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from infernet_edge.config.model import Config, Storage
from infernet_edge.containers import leftovers
from infernet_edge.containers.leftovers import (
    abandoned,
    folders_of,
    foreign,
    is_running,
    running,
    storage_labels,
)
from infernet_edge.containers.podman import Found
from infernet_edge.containers.specification import NODE_LABEL, STORAGE_LABEL, VIEW_LABEL, node_name
from infernet_edge.folders import MARK, PREFIX
from tests.support.events import Events
from tests.support.managing import configuration, container, eventually, managing
from tests.support.podman import IsolatedPodman

OURS = "0" * 16


def left_by(storage: Path, **labels: str) -> Found:
    """A container of the node with this storage folder."""
    known = {NODE_LABEL: node_name(storage), **storage_labels(storage), **labels}
    return Found("1", "c", "", running=True, exit_code=0, port=0, labels=known)


def test_a_node_is_marked_for_as_long_as_it_runs() -> None:
    assert not is_running("node-1")
    with running("node-1"):
        assert is_running("node-1")
        assert not is_running("node-2")
        with running("node-1"):
            pass
        assert is_running("node-1")
    assert not is_running("node-1")


def test_the_mark_ends_with_a_killed_process() -> None:
    program = "import time; from infernet_edge.containers.leftovers import running\n"
    program += "with running('killed'): print('on', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert is_running("killed")
    process.kill()
    process.wait(10)
    process.stdout.close()
    assert not is_running("killed")


def test_only_what_lost_its_storage_is_abandoned(tmp_path: Path) -> None:
    storage = tmp_path / "node"
    storage.mkdir()
    found = [left_by(storage)]
    assert foreign(found, OURS) == found
    assert abandoned(found, OURS) == []  # it may be started again
    storage.rmdir()
    assert abandoned(found, OURS) == found
    assert abandoned(found, node_name(storage)) == foreign(found, node_name(storage)) == []
    with running(node_name(storage)):  # whose folder was removed under it
        assert abandoned(found, OURS) == foreign(found, OURS) == []
    storage.symlink_to(tmp_path / "away")
    assert abandoned(found, OURS) == []
    storage.unlink()
    assert folders_of(found) == [tmp_path]


def test_containers_of_which_it_is_not_certain_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "node"
    found = left_by(storage)
    view = found.labels[VIEW_LABEL]
    assert abandoned([found], OURS) == [found]
    namespace, *rest = view.split(":")
    for other in ("", f"1{namespace}:{':'.join(rest)}", f"{view}1"):
        # Of a sandbox, of a version without the label, of a disk that is not mounted now.
        assert abandoned([left_by(storage, **{VIEW_LABEL: other})], OURS) == []
    for path in ("", "relative"):
        assert abandoned([left_by(storage, **{STORAGE_LABEL: path})], OURS) == []
    old = Found("1", "c", "", running=True, exit_code=0, port=0, labels={NODE_LABEL: "x"})
    assert foreign([old], OURS) == [old]
    assert abandoned([old], OURS) == []
    monkeypatch.setattr(leftovers, "_view", lambda path: "")  # where there is no /proc
    assert abandoned([left_by(storage, **{VIEW_LABEL: ""})], OURS) == []


def test_a_node_without_a_mark_is_detected_by_its_lock(tmp_path: Path) -> None:
    found = [left_by(tmp_path)]
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert foreign(found, OURS) == []
    assert foreign(found, OURS) == found


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_another_mount_namespace_is_another_view(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path\n"
    program += "from infernet_edge.containers.leftovers import storage_labels\n"
    program += "print(storage_labels(Path(sys.argv[1])))"
    command = [sys.executable, "-c", program, str(tmp_path)]
    here = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert here.strip() == str(storage_labels(tmp_path))
    there = subprocess.run(
        ["unshare", "--mount", *command], capture_output=True, text=True, check=True
    ).stdout
    assert there != here


async def test_the_next_start_removes_what_killed_nodes_left(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    image = podman.echo_image()
    demo = tmp_path / "tmp" / f"{PREFIX}demo-1"
    elsewhere = tmp_path / f"{PREFIX}demo-2"  # of a demo with another TMPDIR

    def stored_at(storage: Path, name: str) -> Config:
        storage.mkdir(parents=True)
        config = configuration(podman, tmp_path, container(name, image))
        return msgspec.structs.replace(config, storage=Storage(path=str(storage)))

    def names() -> set[str]:
        return {name.removeprefix(PREFIX).rpartition("-")[0] for name in podman.containers()}

    for storage in (tmp_path / "kept", tmp_path / "gone", demo / "data", elsewhere / "data"):
        name = storage.relative_to(tmp_path).as_posix().replace("/", "-")
        async with managing(stored_at(storage, name), stop=False):
            pass
    for folder in (demo, elsewhere):
        (folder / MARK).touch()
    (tmp_path / "gone").rmdir()
    podman.run("run", "--detach", "--name", "other-s", image)
    async with managing(stored_at(tmp_path / "runs", "runs")) as other:
        await eventually(lambda: names() == {"other", "kept", "runs"})
        assert not demo.exists()
        assert not elsewhere.exists()
        assert len(events.of("folder.removed")) == 2
        assert len(events.of("container.abandoned_found")) == 3
        (tmp_path / "runs").rmdir()  # under a node that runs
        async with managing(stored_at(tmp_path / "mine", "mine")):
            await asyncio.sleep(1)
            assert names() == {"other", "kept", "runs", "mine"}
            assert (await other.call("runs", 1))["output"] == 1
    assert names() == {"other", "kept"}
    assert (tmp_path / "kept").is_dir()


async def test_a_failed_search_does_not_keep_the_node_from_running(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> list[Path]:
        raise OSError("Too many open files")

    monkeypatch.setattr("infernet_edge.containers.manager.remove_abandoned_folders", fail)
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        assert managed.services["echo"].state == "ready"
        assert events.of("container.search_failed")
        podman.run("kill", podman.containers()[0])
        await eventually(lambda: len(events.of("container.became_ready")) == 2)
