"""Does the Podman of the node answer, and can it limit the containers?"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from infernet_edge.containers.connection import OLDEST
from infernet_edge.containers.specification import missing_limits
from infernet_edge.doctor.commands import as_root, install_package, line
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning
from infernet_edge.doctor.sockets import how_to_start
from infernet_edge.doctor.user import User, this_user
from infernet_edge.errors import EngineError

NAME = "podman"
NEEDS = ("podman", "manage_containers")

_TIMEOUT = 10.0  # seconds
_VERSION = re.compile(r"version (\d+)\.(\d+)")
_SUBORDINATE_IDS = 65536  # as many as useradd gives to a user
_DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"
_SWITCH_ON = "add cgroup_enable=memory to /boot/firmware/cmdline.txt (Raspberry Pi) and restart"
_VERSION_2 = "add systemd.unified_cgroup_hierarchy=1 to the kernel's command line and restart"
_ROOTFUL = "the service's Podman runs without root; install the service with --rootful for limits"
_UPGRADE = (
    "if the packages have no newer one, upgrade the system: Debian 12 or Ubuntu 24.04 has one"
)


async def check(case: Case) -> Finding:
    """Find Podman as the node does, and check its version and which limits it supports."""
    if not case.needs_podman:
        return ok("not needed: the node manages no containers")
    if case.user is None:
        return not_checked("the service's account does not exist")
    try:
        engine = await case.engine()
    except EngineError as error:
        finding = problem if case.managed else warning
        return await case.blocking(_about_no_answer, case, case.user, str(error), finding)
    version, limits, *_ = case.connection.info
    if version.partition(".")[0].isdecimal() and int(version.partition(".")[0]) < OLDEST:
        return warning(_old(version), _UPGRADE, command=install_package("podman"))
    if os.geteuid() and case.connection.is_own and not case.is_service:
        text, command = await case.blocking(_missing_for_rootless, case, case.user)
        if text:
            return problem(text, command=command)
    limited = case.managed_with("memory", "cpus", "pids")
    missing = {name for each in limited for name in missing_limits(each, limits)}
    if missing:
        remedy, command = await case.blocking(_how_to_limit, case)
        return warning(
            f"Podman {version} at {engine.url} cannot limit {', '.join(sorted(missing))}:"
            " containers run without that limit",
            remedy,
            command=command,
        )
    return ok(f"Podman {version} answers at {engine.url}")


def _about_no_answer(
    case: Case, user: User, error: str, finding: Callable[..., Finding]
) -> Finding:
    """Why no Podman answers. Blocks."""
    url = case.config.podman.url
    program = shutil.which("podman")
    if program is None and not (url and url.startswith("tcp:")):
        command = install_package("podman")
        remedy = "" if command else "install Podman with the package manager of this system"
        return finding("Podman is not installed", remedy, command=command)
    if url:
        return _about_address(case, user, url, error, finding)
    version = _version_of(str(program))
    if version and version[0] < OLDEST:
        shown = ".".join(map(str, version))
        text = f"{_old(shown)}, and its service does not start"
        return finding(text, _UPGRADE, command=install_package("podman"))
    if user.uid:
        text, command = _missing_for_rootless(case, user)
        if not text and case.has_systemd and not (case.root / f"run/user/{user.uid}").is_dir():
            text = f"{user.name} has no session, which a Podman without root needs"
            command = as_root("loginctl", "enable-linger", user.name)
        if text:
            return finding(text, command=command)
    return finding(
        error, "correct the problem that Podman reports here; podman info reports it too"
    )


def _about_address(
    case: Case, user: User, url: str, error: str, finding: Callable[..., Finding]
) -> Finding:
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return finding(
            error.partition(". Check podman.url")[0],
            "start Podman's service on that machine, or correct podman.url",
        )
    reason = _connect_error(parts.path)
    if isinstance(reason, PermissionError):
        if os.geteuid() not in (0, user.uid):
            return not_checked(
                f"{this_user().name} may not use {parts.path}", "run the doctor with sudo"
            )
        return finding(f"{user.name} may not use {parts.path}", "see the check socket")
    if reason is None:  # a server listens, but does not answer as Podman does
        return finding(error.partition(". Check podman.url")[0], "read the log of Podman's service")
    remedy, command = how_to_start(case, user, Path(parts.path))
    text = f"no Podman listens at {parts.path} ({reason.strerror})"
    return finding(text, remedy, command=command)


def _connect_error(path: str) -> OSError | None:
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(_TIMEOUT)
        try:
            attempt.connect(path)
        except OSError as error:
            return error
    return None


def _missing_for_rootless(case: Case, user: User) -> tuple[str, str]:
    """What is missing for a Podman without root, and the command that installs it."""
    if shutil.which("newuidmap") is None:
        return "Podman without root needs newuidmap", install_package("uidmap")
    ranges = _lines(case.root / "etc/subuid")
    if not any(each.split(":")[0] in (user.name, str(user.uid)) for each in ranges):
        ends = [sum(map(int, each.split(":")[1:])) for each in ranges if each.count(":") == 2]
        first = max([100000, *ends])
        span = f"{first}-{first + _SUBORDINATE_IDS - 1}"
        add = as_root("usermod", "--add-subuids", span, "--add-subgids", span, user.name)
        return (
            f"{user.name} has no user ids for containers in /etc/subuid",
            f"{add} && {line('podman', 'system', 'migrate')}",
        )
    if not any(map(shutil.which, ("slirp4netns", "pasta"))):
        return "Podman without root has no network for containers", install_package("slirp4netns")
    return "", ""


def _version_of(program: str) -> tuple[int, int] | None:
    try:
        done = subprocess.run(  # noqa: S603  # no shell
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _old(version: str) -> str:
    return f"Podman {version} is older than {OLDEST}.0, the oldest supported version"


def _how_to_limit(case: Case) -> tuple[str, str]:
    """What to do, as text and as a command. Blocks."""
    if case.is_service and case.is_rootless:
        return _ROOTFUL, ""
    if not (case.root / "sys/fs/cgroup/cgroup.controllers").exists():
        return _VERSION_2, ""
    if case.is_service or os.geteuid() == 0 or not case.connection.is_own:
        return _SWITCH_ON, ""
    # https://rootlesscontaine.rs/getting-started/common/cgroup2
    text = r"[Service]\nDelegate=cpu cpuset io memory pids\n"
    command = (
        f"{as_root('mkdir', '-p', Path(_DROP_IN).parent)} && printf '{text}' |"
        f" {as_root('tee', _DROP_IN)} && {as_root('systemctl', 'daemon-reload')}"
    )
    return "after the command restart the machine, or log out and in again", command


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
