"""Containers of nodes that were killed and are not started again.

A node adopts or removes its own containers at its next start. Others stay, unless it is certain
that their node does not run and has nothing to start again from:

- a node that runs has a mark, which the kernel removes together with its process;
- a node can be started again for as long as its storage folder exists. That it does not exist is
  certain only for a node that sees the same files: in a sandbox of systemd (ProtectHome=,
  PrivateTmp=) or in a container, folders of others are hidden, and a disk may not be mounted now.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infernet_edge.containers.podman import Found
from infernet_edge.containers.specification import NODE_LABEL, STORAGE_LABEL, VIEW_LABEL
from infernet_edge.storage.database import is_in_use

_MARK = "\0infernet-edge/{}"  # of the abstract namespace, unix(7): for all users, without a file


@contextlib.contextmanager
def running(node: str) -> Iterator[None]:
    """Mark the node (see `node_name`) as one that runs, for as long as the block lasts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        with contextlib.suppress(OSError):  # another program has the name: it counts as running
            mark.bind(_MARK.format(node))
        yield


def is_running(node: str) -> bool:
    """Whether a node has that mark. Blocks for no time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        try:
            asker.connect(_MARK.format(node))
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # not known, so nothing may be done to its containers
    return True


def storage_labels(storage_path: Path) -> dict[str, str]:
    """The labels by which others can find out whether the node can be started again. Blocks."""
    path = storage_path.absolute()
    return {STORAGE_LABEL: str(path), VIEW_LABEL: _view(path)}


def foreign(found: Iterable[Found], node: str) -> list[Found]:
    """The containers of other nodes than `node` that do not run. Blocks."""
    return [each for each in found if _node_of(each) != node and not _is_of_running(each.labels)]


def abandoned(found: Iterable[Found], node: str) -> list[Found]:
    """Those of them that nothing will ever use again, for certain. Blocks."""
    return [each for each in foreign(found, node) if _has_lost_its_storage(each.labels)]


def folders_of(found: Iterable[Found]) -> list[Path]:
    """The folders around the storage folders; those of demos are temporary (folders.py)."""
    storages = (each.labels.get(STORAGE_LABEL, "") for each in found)
    return [Path(storage).parent for storage in storages if storage]


def _node_of(found: Found) -> str:
    return found.labels.get(NODE_LABEL, "")


def _is_of_running(labels: Mapping[str, str]) -> bool:
    if is_running(labels.get(NODE_LABEL, "")):
        return True
    storage = labels.get(STORAGE_LABEL, "")
    try:
        return bool(storage) and is_in_use(Path(storage))
    except OSError:
        return False  # another user's: its mark is for all to see


def _has_lost_its_storage(labels: Mapping[str, str]) -> bool:
    storage = Path(labels.get(STORAGE_LABEL, ""))
    if not storage.is_absolute():
        return False  # of a version without these labels
    try:
        storage.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return labels.get(VIEW_LABEL, "") in {_view(storage)} - {""}
    except OSError:
        pass
    return False


def _view(path: Path) -> str:
    """Which files a process sees: its mount namespace, its root, and the disk of `path`.

    Without `path`, that of the folder where it would be: the same, unless a disk is missing.
    """
    try:
        root = Path("/").stat()
        namespace = Path("/proc/self/ns/mnt").stat().st_ino
        disk = _existing(path).stat().st_dev
    except OSError:
        return ""
    return f"{namespace}:{root.st_dev}:{root.st_ino}:{disk}"


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
