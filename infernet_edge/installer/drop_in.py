"""What the node may use because the configuration names it or the machine has it: a drop-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from infernet_edge.config import Config, load
from infernet_edge.config.devices import host_path
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.hardware.devices import files_of, gpu_files, groups_of, jetson_files
from infernet_edge.installer.paths import Paths

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PATH = re.compile(r"/[A-Za-z0-9._/+-]*")
_GPU_GROUPS = ("video", "render")  # of GPUs, in the udev rules of systemd and of Jetson Linux


class CannotGrant(InfernetEdgeError):
    """A name that a unit file cannot hold; the text says which."""


def drop_in(paths: Paths) -> str:
    """The text of the drop-in; "" when the unit needs none.

    Every file in the folder of credentials becomes a credential of its name, the node may write to
    the folders of `storage.path`, `log.path` and `backup.path`, and is in the groups that own GPUs,
    as far as they exist: systemd does not start a unit with a group that does not, systemd.exec(5).
    Raises ConfigurationError, CannotGrant.
    """
    lines = [*_credentials(paths), *_folders(paths), *_gpus(paths)]
    if not lines:
        return ""
    return "\n".join(["# Written by `infernet-edge service install`.", "[Service]", *lines, ""])


def podman_drop_in(paths: Paths) -> str:
    """The text of a drop-in for a Podman without root; "" when it needs none.

    It is in the groups that own GPUs and the devices in the configuration, as far as they exist.
    Raises ConfigurationError.
    """
    config = configuration(paths)
    named = [device for each in config.containers for device in each.devices] if config else []
    places = (paths.root / host_path(device).lstrip("/") for device in named if host_path(device))
    files = [*gpu_files(paths.root), *(file for place in places for file in files_of(place))]
    groups = _device_groups(paths, files)
    if not groups:
        return ""
    line = f"SupplementaryGroups={' '.join(groups)}"
    return "\n".join(["# Written by `infernet-edge service install`.", "[Service]", line, ""])


def environment(paths: Paths) -> dict[str, str]:
    """The variables that systemd sets for the node and the configuration depends on."""
    return {
        "STATE_DIRECTORY": str(paths.state),
        "CREDENTIALS_DIRECTORY": str(paths.credentials),
    }


def configuration(paths: Paths) -> Config | None:
    """The service's configuration; None when there is none. Raises ConfigurationError."""
    file = paths.configuration()
    return None if file is None else load(file, environment(paths)).config


def _credentials(paths: Paths) -> Iterator[str]:
    if not paths.credentials.is_dir():
        return
    for file in sorted(paths.credentials.iterdir()):
        if not _NAME.fullmatch(file.name):
            raise CannotGrant(
                f"{file}: the name of a credential has letters, digits and . _ - only, as in"
                " chain.wallet.private_key or server.tokens.phone. Rename it."
            )
        yield f"LoadCredential={file.name}:{file}"


def _folders(paths: Paths) -> Iterator[str]:
    config = configuration(paths)
    if config is None:
        return
    folders = {config.storage_path}
    if config.log.path:
        folders.add(Path(config.log.path).expanduser().parent)
    if config.backup.path:
        folders.add(Path(config.backup.path))
    for folder in sorted(folders):
        if folder.is_relative_to(paths.state):
            continue
        if not _PATH.fullmatch(str(folder)):
            raise CannotGrant(
                f"The service cannot write to {folder}: give storage.path, log.path and"
                " backup.path as absolute paths of letters, digits and . _ + -"
            )
        yield f"ReadWritePaths=-{folder}"


def _gpus(paths: Paths) -> Iterator[str]:
    """The groups, also for a GPU whose driver comes later; and the files of a Jetson's GPU."""
    if groups := _device_groups(paths, gpu_files(paths.root)):
        yield f"SupplementaryGroups={' '.join(groups)}"
    for file in jetson_files(paths.root):
        path = f"/{file.relative_to(paths.root)}"
        if _PATH.fullmatch(path):
            yield f"DeviceAllow={path} rw"


def _device_groups(paths: Paths, files: list[Path]) -> list[str]:
    """The groups that exist of those of GPUs, and of those that own these files."""
    numbers, owners = _groups(paths), set(groups_of(files))
    return [name for name in numbers if name in _GPU_GROUPS or numbers[name] in owners]


def _groups(paths: Paths) -> dict[str, int]:
    """Names and ids of the groups that exist, by group(5)."""
    try:
        lines = (paths.root / "etc/group").read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    fields = (line.split(":") for line in lines)
    return {
        each[0]: int(each[2])
        for each in fields
        if len(each) > 2 and _NAME.fullmatch(each[0]) and each[2].isdecimal()
    }
