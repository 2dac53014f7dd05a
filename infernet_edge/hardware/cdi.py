"""Read the files of the Container Device Interface (CDI), and resolve conflicts between them.

https://tags.cncf.io/container-device-interface: files of JSON or YAML in /etc/cdi and /var/run/cdi
describe devices of a kind. A device in the second folder takes precedence over one of the same name
in the first. Two of the same name in one folder are a conflict, and neither is used, even if there
is a third in the other folder. Podman 4.3 and 5 do the same.
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
    """A device of a specification; `paths` are the host's files that it adds to a container."""

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
            except (OSError, ValueError) as error:  # includes those of msgspec and UTF-8
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
    """The device files that the devices of these names add to a container. Blocks."""
    found = read(root).devices
    paths = dict.fromkeys(path for name in names if name in found for path in found[name].paths)
    return [root / path[1:] for path in paths if path.startswith("/dev/")]


def _files(root: Path, names: tuple[str, ...]) -> list[Path]:
    """The files that are intended as specifications, at most _MAX_FILES."""
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
    """The paths of mounts and of device nodes; the latter may have the same path inside."""
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
    if isinstance(error, yaml.UnsupportedYAML):
        return f"it cannot be parsed, {error}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
