"""Do the devices of containers exist, and may Podman open them?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infernet_edge.config.devices import host_path, is_cdi_name
from infernet_edge.config.model import Container
from infernet_edge.doctor.account import podman_account
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, problem
from infernet_edge.doctor.gpu import describe, remedy_for, unopened, why_not
from infernet_edge.hardware.devices import files_of, read_devices

NAME = "devices"


async def check(case: Case) -> Finding:
    """Check the files and CDI names of `containers[].devices`, and the modes of the files."""
    return await case.blocking(_check_blocking, case)


def _check_blocking(case: Case) -> Finding:
    found = {path: _files(case.root, path) for each in case.managed for path in _paths(each)}
    for container in case.managed:
        for path in _paths(container):
            if not found[path]:
                return problem(
                    f"{container.id} cannot start: {path} does not exist{_others(case.root)}",
                    "connect the device and load its driver, or change devices of the container in"
                    " the configuration",
                )
    named = {
        container.id: names
        for container in case.managed
        if (names := list(filter(is_cdi_name, container.devices)))
    }
    described = describe(case.root, named) if named else ok("")
    if described.level != "ok":
        return described
    if closed := next(_closed(case, found), None):
        return closed
    if not found:
        return described if named else ok("not needed: no container has devices")
    return ok(f"{', '.join(found)} can be passed in")


def _closed(case: Case, found: dict[str, list[Path]]) -> Iterator[Finding]:
    """Files that a Podman without root may not open."""
    podman = podman_account(case)
    for container in case.managed:
        for path in _paths(container):
            # Of a folder such as /dev/dri or /dev/bus/usb one is enough.
            files = found[path]
            if any(podman.may_open(file) for file in files):
                continue
            if file := unopened(podman, files):
                advice = remedy_for(case.root, podman, file)
                yield problem(
                    f"{container.id} cannot use {path}: Podman runs as"
                    f" {why_not(case.root, podman, file)}",
                    advice.remedy,
                    command=advice.command,
                )


def _paths(container: Container) -> list[str]:
    return [path for path in map(host_path, container.devices) if path]


def _files(root: Path, path: str) -> list[Path]:
    return files_of(root / path.lstrip("/"))


def _others(root: Path) -> str:
    """The devices of this machine, for a name that changed or was mistyped."""
    paths = [device.path for device in read_devices(root)]
    return f"; this machine has {', '.join(paths)}" if paths else ""
