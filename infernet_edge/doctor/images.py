"""Do the containers' images exist here, or can they be pulled?"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess

from infernet_edge.config.values.image_names import registry_of
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.images.platforms import obstacle
from infernet_edge.containers.images.reference import LOCALHOST
from infernet_edge.containers.podman import Engine
from infernet_edge.doctor.commands import as_root, line
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, warning
from infernet_edge.doctor.registries import refuses
from infernet_edge.doctor.user import this_user
from infernet_edge.errors import EngineError
from infernet_edge.http_client.client import HttpClient

NAME = "images"
NEEDS = ("containers", "podman", "manage_containers")

_TIMEOUT = 5.0  # seconds
_PODMAN_TIMEOUT = 15.0  # seconds; slow on an SD card
_HTTPS = 443
_SCHEME = "https"  # passwords are sent over TLS only
_HOSTS = {"docker.io": "registry-1.docker.io"}


async def check(case: Case) -> list[Finding]:
    """Check each in Podman; for a missing one, check whether its registry accepts connections."""
    names = sorted({container.image for container in case.managed_with("image")})
    if not names:
        return [ok("not needed: the node manages no containers")]
    try:
        engine = await case.engine()
        local = {name: await case.blocking(_find, case, engine, name) for name in names}
    except EngineError:
        return [not_checked(f"{name}: Podman does not answer") for name in names]
    missing = {name for name, finding in local.items() if finding is None}
    registries = sorted({registry_of(name) for name in names} - {"localhost"})
    wanted = sorted({registry_of(name) for name in missing} - {"localhost"})
    reached = await asyncio.gather(*map(_accepts_connections, wanted))
    away = {name for name, there in zip(wanted, reached, strict=True) if not there}
    refused = await _refused(case, [name for name in registries if name not in away])
    own = {name for name in missing if await case.blocking(_is_in_another_podman, case, name)}
    found = []
    for name in names:
        if name in own:
            found.append(_about_another_podman(case, name))
        else:
            found.append(local[name] or _about_missing(case, name, away))
    return [*refused, *found]


def _find(case: Case, engine: Engine, name: str) -> Finding | None:
    """The finding about an image that is here; None when it is missing. Blocks."""
    try:
        image = engine.image(name)
    except EngineUnreachable:
        raise
    except EngineError as error:  # its files in Podman's storage cannot be read
        return _about_damaged(case, name, str(error))
    if image is None:
        return None
    if image.lost_layer:
        return _about_damaged(case, name, f"{image.lost_layer} is missing")
    if engine.url.startswith("unix:"):
        here = case.connection.info.architecture
        if text := obstacle(name, image.architecture, image.system, here, case.root):
            return problem(text, "change image in the configuration")
    return ok(f"{name}: available")


def _about_damaged(case: Case, name: str, reason: str) -> Finding:
    url = case.config.podman.url
    run = as_root if case.is_service else line
    words = ["podman", *(("--url", url) if url else ()), "rmi", "--force", name]
    made_here = registry_of(name) == LOCALHOST
    return problem(
        f"{name}: Podman's storage of it is damaged ({reason})",
        "after the command make it again, or load it"
        if made_here
        else "after the command the node pulls it again",
        command=run(*words),
    )


async def _refused(case: Case, registries: list[str]) -> list[Finding]:
    """Whether the registry of docker.username and docker.password refuses them; no other one."""
    login = case.config.docker
    if not login.username or not login.password or case.is_wrong("docker"):
        return []
    name = login.registry
    if name not in registries:
        return []
    async with HttpClient() as http:
        if not await refuses(http, f"{_SCHEME}://{_HOSTS.get(name, name)}", login):
            return []
    return [
        problem(
            f"{name} refuses docker.username and docker.password",
            f"correct them, or docker.registry, in {case.source or 'the configuration'}",
        )
    ]


def _is_in_another_podman(case: Case, name: str) -> bool:
    """Whether the Podman of this user has an image that the node's Podman does not have. Blocks."""
    program = shutil.which("podman")
    if program is None or not (case.config.podman.url or "").startswith("unix:"):
        return False
    try:
        done = subprocess.run(  # noqa: S603  # no shell
            [program, "image", "exists", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PODMAN_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _about_another_podman(case: Case, name: str) -> Finding:
    load = as_root if case.is_service else line
    url = str(case.config.podman.url)
    return problem(
        f"{name}: the Podman of {this_user().name} has it, the Podman of the node does not",
        command=f"{line('podman', 'save', name)} | {load('podman', '--url', url, 'load')}",
    )


def _about_missing(case: Case, name: str, away: set[str]) -> Finding:
    registry = registry_of(name)
    if registry == "localhost":
        whose = "the service's Podman" if case.is_service else "this Podman"
        return problem(
            f"{name}: not available, and no registry has images that are made on this machine",
            f"make it in {whose} with podman build, or copy it there with podman save and podman"
            " load; each user's Podman has separate images",
        )
    if all(each.pull == "never" for each in case.managed if each.image == name):
        return problem(f'{name}: not available, and its pull is "never"', command=_pull(case, name))
    if registry in away:
        # Not a problem: there may be a proxy or a mirror, which only Podman uses.
        return warning(
            f"{name}: not available yet, and {registry} cannot be reached from this machine",
            "check that this machine reaches the network, and that the image's name is right",
        )
    return warning(
        f"{name}: not available yet, the node has to pull it first", command=_pull(case, name)
    )


def _pull(case: Case, name: str) -> str:
    """The command that pulls into the Podman of the node."""
    url = case.config.podman.url
    if not url:
        return line("podman", "pull", name)
    run = as_root if case.is_service else line
    return run("podman", "--url", url, "pull", name)


async def _accepts_connections(registry: str) -> bool:
    host, _, port = registry.partition(":")
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, int(port or _HTTPS))
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
