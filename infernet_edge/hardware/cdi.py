"""What the Container Device Interface says of devices: its files, and which of them counts.

https://tags.cncf.io/container-device-interface: files of JSON or YAML in /etc/cdi and /var/run/cdi
describe devices of a kind. A device in a file of the second folder counts instead of one of the
same name in the first; two of the same name in one folder are a conflict, and neither counts, even
if there is a third in the other. So it does in Podman 4.3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infernet_edge.hardware import yaml

# By growing priority. The second folder has two names, one of which links to the other.
_FOLDERS = (("etc/cdi",), ("var/run/cdi", "run/cdi"))
_SUFFIXES = (".json", ".yaml")  # Podman reads no others
_MAX_FILES = 64
_MAX_BYTES = 4 * 2**20


class Device(NamedTuple):
    """A device of a specification; `paths` are files of the host that it puts into a container."""

    name: str
    file: Path
    paths: tuple[str, ...]


class Described(NamedTuple):
    """All devices of the machine by their full names, conflicts, and files without effect."""

    devices: Mapping[str, Device]
    conflicts: Mapping[str, tuple[Path, Path]]
    unread: Mapping[Path, str]


def read(root: Path) -> Described:
    """Read the specifications below `root`. Blocks."""
    devices: dict[str, Device] = {}
    conflicts: dict[str, tuple[Path, Path]] = {}
    unread: dict[Path, str] = {}
    for names in _FOLDERS:
        here: dict[str, Device] = {}
        for file in _files(root, names):
            if file.suffix not in _SUFFIXES:
                unread[file] = "its name must end with .yaml or .json"
                continue
            try:
                found = list(_devices(file, _document(file)))
            except (OSError, ValueError) as error:  # msgspec's and those of UTF-8 among them
                unread[file] = _reason(error)
                continue
            for device in found:
                if device.name in here:
                    conflicts[device.name] = (here[device.name].file, file)
                here[device.name] = device
        devices.update(here)
    kept = {name: device for name, device in devices.items() if name not in conflicts}
    return Described(kept, conflicts, unread)


def files_of(names: Iterable[str], root: Path) -> list[Path]:
    """The device files that the devices of these names put into a container. Blocks."""
    found = read(root).devices
    paths = dict.fromkeys(path for name in names if name in found for path in found[name].paths)
    return [root / path[1:] for path in paths if path.startswith("/dev/")]


def _files(root: Path, names: tuple[str, ...]) -> list[Path]:
    """Those that are meant to be specifications, each once."""
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        return []
    files = [file for file in folder.glob("*") if file.suffix in (*_SUFFIXES, ".yml")]
    return sorted(islice(files, _MAX_FILES))


def _document(file: Path) -> Any:
    with file.open("rb") as opened:
        text = opened.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError(f"it is longer than {_MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return yaml.parse(text.decode("utf-8"))  # the library reads both as YAML


def _devices(file: Path, document: Any) -> Iterator[Device]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise ValueError("it has no kind")  # of the file, not of an argument
    common = tuple(_paths(document.get("containerEdits")))
    for device in _list(document.get("devices")):
        if isinstance(device, dict) and device.get("name"):
            paths = (*common, *_paths(device.get("containerEdits")))
            yield Device(f"{document['kind']}={device['name']}", file, paths)


def _paths(edits: Any) -> Iterator[str]:
    """Of the mounts, and of the device nodes, whose path is the same inside unless it is said."""
    if not isinstance(edits, dict):
        return
    for key, names in (("mounts", ("hostPath",)), ("deviceNodes", ("hostPath", "path"))):
        for entry in _list(edits.get(key)):
            if isinstance(entry, dict):
                path = next((entry[name] for name in names if entry.get(name)), "")
                if isinstance(path, str) and path.startswith("/"):
                    yield path


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.NotUnderstood):
        return f"it cannot be understood, {error}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
