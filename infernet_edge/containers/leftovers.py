"""Find containers of nodes that were killed and will not be started again.

A node adopts or removes its own containers at its next start. Others are kept, unless it is certain
that their node does not run and can never be started again:

- a running node has a mark, which the kernel removes together with its process;
- a node can be started again as long as its storage folder exists. That it does not exist is
  certain only for a node that sees the same files: in a sandbox of systemd (ProtectHome=,
  PrivateTmp=) or in a container, other folders are hidden, and a disk may not be mounted now.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infernet_edge.containers.podman import Found
from infernet_edge.containers.specification import NODE_LABEL, STORAGE_LABEL, VIEW_LABEL
from infernet_edge.storage.lock import is_in_use

_MARK = "\0infernet-edge/{}"  # in the abstract namespace, unix(7): visible to all users, no file


@contextlib.contextmanager
def running(node: str) -> Iterator[None]:
    """Mark the node (see `node_name`) as running within the block."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        with contextlib.suppress(OSError):  # another program has the name: the node seems to run
            mark.bind(_MARK.format(node))
        yield


def is_running(node: str) -> bool:
    """Whether a node has that mark. Does not block."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        try:
            client.connect(_MARK.format(node))
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # not known, so its containers must not be removed
    return True


def storage_labels(storage_path: Path) -> dict[str, str]:
    """The labels by which other nodes detect whether this one can be started again. Blocks."""
    path = storage_path.absolute()
    return {STORAGE_LABEL: str(path), VIEW_LABEL: _view(path)}


def foreign(found: Iterable[Found], node: str) -> list[Found]:
    """The containers of nodes, other than `node`, that do not run. Blocks."""
    return [each for each in found if _node_of(each) != node and not _is_of_running(each.labels)]


def abandoned(found: Iterable[Found], node: str) -> list[Found]:
    """The containers in `foreign` whose node can never be started again. Blocks."""
    return [each for each in foreign(found, node) if _has_lost_its_storage(each.labels)]


def folders_of(found: Iterable[Found]) -> list[Path]:
    """The parents of the storage folders; those of demos are temporary (folders.py)."""
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
        return False  # another user's storage: its mark is checked instead


def _has_lost_its_storage(labels: Mapping[str, str]) -> bool:
    storage = Path(labels.get(STORAGE_LABEL, ""))
    if not storage.is_absolute():
        return False  # created by a version without these labels
    try:
        storage.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return labels.get(VIEW_LABEL, "") in {_view(storage)} - {""}
    except OSError:
        return False  # whether it is there is not known
    return False


def _view(path: Path) -> str:
    """Identifies the files a process sees: its mount namespace, its root, and the disk of `path`.

    If `path` does not exist, the disk is that of its parent: the same, unless a disk is missing.
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
