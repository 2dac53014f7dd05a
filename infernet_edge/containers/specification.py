"""The specification with which Podman creates a configured container.

The form is libpod's SpecGenerator, the body of `POST /libpod/containers/create`
(https://docs.podman.io/en/latest/_static/api.html). podman-py's keywords for it do not support all
of this: one source mounted twice, or limits that are omitted.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from infernet_edge.config.devices import gpu_names, host_path
from infernet_edge.config.model import Container
from infernet_edge.config.rules import size_in_bytes
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.env_files import read_env_file
from infernet_edge.errors import EngineError
from infernet_edge.hardware import cdi
from infernet_edge.hardware.devices import files_of, groups_of

NODE_LABEL = "io.infernet-edge.node"
CONTAINER_LABEL = "io.infernet-edge.container"
SPECIFICATION_LABEL = "io.infernet-edge.specification"
STORAGE_LABEL = "io.infernet-edge.storage"  # the folder of the node, see leftovers.py
VIEW_LABEL = "io.infernet-edge.view"
SERVICE_PORT = 3000  # on which services listen inside their containers, by the specification

# With this annotation the runtime crun keeps the groups of Podman's process in the container, like
# --group-add keep-groups of the command line. The groups cannot be listed by id: they have none in
# the user namespace of rootless Podman.
_KEEP_GROUPS = {"run.oci.keep_original_groups": "1"}
_LOG_BYTES = 5 * 2**20
_PERIOD = 100_000  # microseconds, the scheduler's default for CPU quotas
_NAMED_VOLUME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


def node_name(storage_path: Path) -> str:
    """A name for the node with this storage, by which it finds its containers after a restart."""
    return hashlib.sha256(str(storage_path.absolute()).encode()).hexdigest()[:16]


def device_groups(container: Container, root: Path = Path("/")) -> list[int]:
    """The ids of the groups that own the container's device files, CDI's too. Blocks."""
    devices = _devices(container)
    paths = [path for path in map(host_path, devices) if path]
    files = [file for path in paths for file in files_of(root / path.lstrip("/"))]
    if len(paths) < len(devices):
        files += cdi.files_of(devices, root)
    return groups_of(files)


def make_specification(
    container: Container,
    node: str,
    image_id: str,
    limits: Collection[str],
    stop_timeout: int,
    groups: Collection[int] = (),
    node_labels: Mapping[str, str] | None = None,
    *,
    rootless: bool = False,
    init: bool = False,
) -> dict[str, Any]:
    """The specification of `container` without its host port, which `publish` adds.

    `limits` are those of "memory", "cpu" and "pids" that Podman can apply here; `stop_timeout` is
    in seconds; `groups` are those of its devices; `rootless` is whether Podman runs without root.
    `init` is whether it runs below an init process. `node_labels` describe the node; a container is
    not replaced when only they differ. Blocks for a moment where there is an `env_file`. Raises
    EngineError when that cannot be read, or the command cannot be split as a shell would.
    """
    try:
        command = shlex.split(container.command)
    except ValueError as error:
        raise EngineError(
            f"The command of container {container.id} cannot be split: {error}"
        ) from None
    mounts, volumes = _volumes(container)
    specification: dict[str, Any] = {
        "name": f"infernet-edge-{container.id}-{node[:6]}",
        "image": image_id,
        "raw_image_name": container.image,
        "command": command,
        "env": _environment(container),
        "mounts": mounts,
        "volumes": volumes,
        "devices": [{"path": device} for device in _devices(container)],
        "resource_limits": _limits(container, limits),
        # Podman runs an image's HEALTHCHECK by systemd timers, which are often not available for
        # this user; the node probes the container itself.
        "healthconfig": {"Test": ["NONE"]},
        "log_configuration": {"driver": "k8s-file", "size": _LOG_BYTES},
        "restart_policy": "no",
        "stop_timeout": stop_timeout,
        "labels": {NODE_LABEL: node, CONTAINER_LABEL: container.id},
    }
    if container.shm_size is not None:
        specification["shm_size"] = size_in_bytes(container.shm_size)
    if groups and rootless:
        specification["annotations"] = _KEEP_GROUPS
    elif groups:
        specification["groups"] = [str(group) for group in groups]
    # Not whether there is an init process, but whether there should be one.
    relevant = [specification, container.port, container.container_port, container.init]
    specification["labels"][SPECIFICATION_LABEL] = _digest(relevant)[:32]
    specification["labels"] |= node_labels or {}
    if init:
        specification["init"] = True
    return specification


def publish(
    specification: dict[str, Any], port: int, container_port: int = SERVICE_PORT
) -> dict[str, Any]:
    """Add the mapping of `port` of 127.0.0.1 to the service; the LAN cannot reach that port."""
    mapping = {
        "host_ip": "127.0.0.1",
        "host_port": port,
        "container_port": container_port,
        "protocol": "tcp",
    }
    return {**specification, "portmappings": [mapping]}


def missing_limits(container: Container, limits: Collection[str]) -> list[str]:
    """The configured limits that Podman cannot apply here."""
    configured = {"memory": container.memory, "cpu": container.cpus, "pids": container.pids}
    return [name for name, value in configured.items() if value and name not in limits]


def env_file_digest(container: Container) -> str:
    """The SHA-256 of the variables in its `env_file`. Blocks; raises EngineError."""
    return _digest(_variables_of_file(container))


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def _environment(container: Container) -> dict[str, str]:
    """The variables of `env_file` and those of `env`, which come first. Raises EngineError."""
    variables = _variables_of_file(container) if container.env_file else {}
    return variables | {name: _text(value) for name, value in container.env.items()}


def _variables_of_file(container: Container) -> dict[str, str]:
    try:
        return read_env_file(container.env_file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise EngineError(
            f"containers[].env_file of {container.id}, {container.env_file}: {reason}"
        ) from None


def _text(value: str | float | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else str(value)


def _devices(container: Container) -> list[str]:
    return [*container.devices, *gpu_names(container.gpu)]


def is_named_volume(source: str) -> bool:
    """Whether the source of a volume is a named volume of Podman, not a path of this machine."""
    return bool(_NAMED_VOLUME.match(source))


def _limits(container: Container, limits: Collection[str]) -> dict[str, Any]:
    applied: dict[str, Any] = {}
    if container.memory and "memory" in limits:
        applied["memory"] = {"limit": size_in_bytes(container.memory)}
    if container.cpus and "cpu" in limits:
        # The kernel refuses quotas below a millisecond.
        quota = max(1000, round(container.cpus * _PERIOD))
        applied["cpu"] = {"period": _PERIOD, "quota": quota}
    if container.pids and "pids" in limits:
        applied["pids"] = {"limit": container.pids}
    return applied


def _volumes(container: Container) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    mounts, volumes = [], []
    for volume in container.volumes:
        source, target, *rest = volume.split(":")
        options = rest[0].split(",") if rest and rest[0] else []
        if is_named_volume(source):
            volumes.append({"Name": source, "Dest": target, "Options": options})
        else:
            path = str(Path(source).expanduser().absolute())
            mounts.append(
                {"type": "bind", "source": path, "destination": target, "options": options}
            )
    return mounts, volumes
