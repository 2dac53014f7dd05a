"""Can the containers use their GPUs, and can the node read them?

Podman finds GPUs by CDI specifications, files of NVIDIA's toolkit, see cdi.py. The node reads them
by NVIDIA's driver, and its user needs permission to open the device files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from infernet_edge.config.devices import GPU_KIND, gpu_names
from infernet_edge.doctor import commands
from infernet_edge.doctor.account import Account, group_name, node_account, podman_account
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Advice, Finding, ok, problem, warning
from infernet_edge.hardware import cdi
from infernet_edge.hardware.devices import nvml_files

NAME = "gpu"
_GENERATED = "/etc/cdi/nvidia.yaml"
_RULE = 'GROUP="video", MODE="0660"'
_TOOLKIT = "nvidia-ctk comes with the NVIDIA Container Toolkit"


async def check(case: Case) -> Finding:
    """Check the specifications of the configured GPUs, and the modes of the device files.

    Permissions are those of the installed service's user, not of the user who runs the doctor.
    """
    return await case.blocking(_check_blocking, case)


def _check_blocking(case: Case) -> Finding:
    wanting = {
        container.id: names for container in case.managed if (names := gpu_names(container.gpu))
    }
    described = describe(case.root, wanting) if wanting else None
    if described is not None and described.level == "problem":
        return described
    if closed := next(_closed(case), None):
        return closed
    found = described or ok("not needed: no container has a GPU")
    if found.level == "ok" and nvml_files(case.root):
        return ok(f"{found.text}; {node_account(case).who} may open the GPUs")
    return found


def describe(root: Path, wanting: Mapping[str, list[str]]) -> Finding:
    """Whether CDI describes the devices of each container (id -> CDI names). Blocks."""
    described = cdi.read(root)
    files: dict[str, None] = {}
    for container, names in wanting.items():
        for name in names:
            device = described.devices.get(name)
            if device is None:
                return _undescribed(root, container, name, described)
            if gone := next((path for path in device.paths if _is_gone(root, path)), ""):
                advice = _remedy(root, name, device.file)
                return warning(
                    f"{_shown(root, device.file)} is out of date: {gone} does not exist, perhaps"
                    " since the driver was upgraded",
                    advice.remedy,
                    command=advice.command,
                )
            files[_shown(root, device.file)] = None
    what = "the GPUs" if _are_gpus(wanting) else "the devices"
    verb = "describes" if len(files) == 1 else "describe"
    return ok(f"{' and '.join(files)} {verb} {what} for {', '.join(wanting)}")


def _undescribed(root: Path, container: str, name: str, described: cdi.Described) -> Finding:
    kind = name.partition("=")[0]
    if name in described.conflicts:
        first, second = (_shown(root, file) for file in described.conflicts[name])
        return problem(
            f"{container} cannot start: {name} is described twice, in {first} and {second}, and"
            " Podman then uses neither",
            "remove one of the two",
            command=commands.as_root("rm", second),
        )
    if unread := _unread_of(kind, described):
        file, why = unread
        advice = _remedy(root, name, file.with_suffix(".yaml"))
        return problem(
            f"{container} cannot start: {name} is not described, and {_shown(root, file)} is not"
            f" read: {why}",
            advice.remedy,
            command=advice.command,
        )
    known = [other.partition("=")[2] for other in described.devices if other.startswith(f"{kind}=")]
    if known:
        return problem(
            f"{container} cannot start: {name} is not described; of {kind} there are"
            f" {', '.join(sorted(known))}",
            "change gpu or devices of the container in the configuration"
            + (", or describe the GPUs again" if kind == GPU_KIND else ""),
            command=_generate(_GENERATED) if kind == GPU_KIND else "",
        )
    return problem(
        f"{container} cannot start: no CDI specification of {kind} is in /etc/cdi or /var/run/cdi",
        _TOOLKIT
        if kind == GPU_KIND
        else f"install the tool that makes the CDI specification of {kind}",
        command=_generate(_GENERATED) if kind == GPU_KIND else "",
    )


def _unread_of(kind: str, described: cdi.Described) -> tuple[Path, str] | None:
    """A file that was not read and may be about these devices."""
    vendor = kind.partition("/")[0].partition(".")[0]
    for file, why in described.unread.items():
        if vendor in file.name:
            return file, why
    return None


def _closed(case: Case) -> Iterator[Finding]:
    """Device files that the node, or a Podman without root, may not open."""
    files = nvml_files(case.root)
    if not files:
        return
    node, podman = node_account(case), podman_account(case)
    wanting = [container.id for container in case.managed if container.gpu]
    if wanting and (file := unopened(podman, files)):
        advice = remedy_for(case.root, podman, file)
        yield problem(
            f"{', '.join(wanting)} cannot use a GPU: Podman runs as"
            f" {why_not(case.root, podman, file)}",
            advice.remedy,
            command=advice.command,
        )
    if file := unopened(node, files):
        advice = remedy_for(case.root, node, file)
        yield warning(
            f"the node cannot read the GPUs for /resources: it runs as"
            f" {why_not(case.root, node, file)}",
            advice.remedy,
            command=advice.command,
        )


def unopened(account: Account, files: list[Path]) -> Path | None:
    """The first of these files that exists and that the account may not open. Blocks."""
    return next((file for file in files if file.exists() and not account.may_open(file)), None)


def why_not(root: Path, account: Account, file: Path) -> str:
    """Why an account may not open a file: its group and mode. Blocks."""
    found = file.stat()
    mode, group = found.st_mode & 0o777, group_name(root, found.st_gid)
    return f"{account.who}, who may not open {_shown(root, file)} (group {group}, mode {mode:04o})"


def remedy_for(root: Path, account: Account, file: Path) -> Advice:
    """How to let the account open a file, where its group may. Blocks."""
    found = file.stat()
    group = group_name(root, found.st_gid)
    if found.st_mode & 0o060 != 0o060 or found.st_gid == 0:
        return Advice(f'give it to a group, by a rule of udev: KERNEL=="{file.name}", {_RULE}')
    if account.unit:
        return Advice(command=commands.as_root(*commands.program(), "service", "install"))
    command = commands.as_root("usermod", "--append", "--groups", group, account.name)
    return Advice("log in again after the command", command)


def _remedy(root: Path, name: str, file: Path) -> Advice:
    if name.partition("=")[0] != GPU_KIND:
        return Advice(f"write {_shown(root, file)} again with the vendor's tool")
    return Advice(command=_generate(_shown(root, file)))


def _generate(file: str) -> str:
    return commands.as_root("nvidia-ctk", "cdi", "generate", f"--output={file}")


def _are_gpus(wanting: Mapping[str, list[str]]) -> bool:
    return all("/gpu=" in name for names in wanting.values() for name in names)


def _is_gone(root: Path, path: str) -> bool:
    # A root that is made of some files has no /dev; a machine has.
    is_device = path.startswith("/dev/")
    return not (root / path[1:]).exists() and not (is_device and not (root / "dev").is_dir())


def _shown(root: Path, file: Path) -> str:
    return f"/{file.relative_to(root)}"
