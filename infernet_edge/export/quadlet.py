"""Units for Podman's generator, quadlet: podman-systemd.unit(5), Podman 4.6 and later.

The node and each service are containers in one network, where they find each other by name. A pod
is not used: services of it could not listen on the same port.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from infernet_edge.config.devices import gpu_names
from infernet_edge.config.rules import size_in_bytes
from infernet_edge.containers.specification import is_named_volume
from infernet_edge.export.plan import (
    CONFIGURATION_PATH,
    RPC_VARIABLE,
    SECRETS_PATH,
    STATE_PATH,
    ExportedService,
    Plan,
    object_name,
)

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=@,+-]+")
_INSTALL: Final = ["", "[Install]", "WantedBy=default.target"]


def units(plan: Plan) -> tuple[dict[str, str], list[str]]:
    """The files by name, the node's configuration among them, and notes."""
    network = f"{plan.name}.network"
    addresses = {
        each.container.id: f"http://{each.name}:{each.container.container_port}"
        for each in plan.services
    }
    files = {
        network: _text(["[Network]", f"NetworkName={plan.name}"]),
        f"{plan.name}-state.volume": _text(["[Volume]", f"VolumeName={plan.name}-state"]),
        f"{plan.name}.json": json.dumps(plan.configuration(addresses), indent=2) + "\n",
        f"{plan.name}.container": _text(_node(plan, network)),
    }
    for name in _named_volumes(plan.services):
        files[f"{name}.volume"] = _text(["[Volume]", f"VolumeName={name}"])
    for service in plan.services:
        files[f"{service.name}.container"] = _text(_service(plan, service, network))
    return files, [*plan.notes, *_notes(plan)]


def secret_name(plan: Plan, key: str) -> str:
    """The name of a secret in Podman."""
    return f"{plan.name}.{key}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _node(plan: Plan, network: str) -> Iterator[str]:
    server = plan.config.server
    host = server.host if ":" not in server.host else f"[{server.host}]"
    published = f"{plan.port}:{plan.port}"
    if server.host not in ("", "0.0.0.0", "::"):
        published = f"{host}:{published}"
    yield from ("[Unit]", "Description=Infernet node for edge hardware")
    if plan.services:
        wanted = " ".join(f"{each.name}.service" for each in plan.services)
        yield from (f"Wants={wanted}", f"After={wanted}")
    yield from ("", "[Container]", f"ContainerName={plan.name}", f"Image={plan.image}")
    yield from ("Exec=infernet-edge run", f"Network={network}", f"PublishPort={published}")
    yield f"Volume={plan.name}-state.volume:{STATE_PATH}"
    yield f"Volume=%E/containers/systemd/{plan.name}.json:{CONFIGURATION_PATH}:ro"
    yield f"Environment=INFERNET_CONFIG_PATH={CONFIGURATION_PATH}"
    if plan.secrets:
        yield f"Environment=CREDENTIALS_DIRECTORY={SECRETS_PATH}"
    for key in plan.secrets:
        name = secret_name(plan, key)
        yield f"Secret={name},type=mount,target={SECRETS_PATH}/{key},mode=0400"
    if plan.has_secret_rpc:
        yield f"Secret={secret_name(plan, RPC_VARIABLE)},type=env,target={RPC_VARIABLE}"
    yield from ("ReadOnly=true", "Tmpfs=/tmp", "NoNewPrivileges=true", "DropCapability=ALL")
    yield from ("", "[Service]", "Restart=always", "RestartSec=15", "TimeoutStopSec=60")
    yield from _INSTALL


def _service(plan: Plan, service: ExportedService, network: str) -> Iterator[str]:
    configured = service.container
    yield from ("[Unit]", f"Description=Service {configured.id} of {plan.name}")
    yield from ("", "[Container]", f"ContainerName={service.name}", f"Image={configured.image}")
    yield from (f"Network={network}", f"Pull={configured.pull}")
    if service.arguments:
        yield f"Exec={' '.join(map(_quoted, service.arguments))}"
    if configured.init:
        yield "RunInit=true"
    for name, value in service.environment.items():
        yield f"Environment={_quoted(f'{name}={value}')}"
    for name in service.secrets:
        yield f"Secret={secret_name(plan, service.secret_key(name))},type=env,target={name}"
    for text in configured.volumes:
        yield f"Volume={_volume(text)}"
    for device in [*configured.devices, *gpu_names(configured.gpu)]:
        yield f"AddDevice={_escaped(device)}"
    # Options instead of keys, which came later.
    if configured.memory:
        yield f"PodmanArgs=--memory={size_in_bytes(configured.memory)}b"
    if configured.cpus:
        yield f"PodmanArgs=--cpus={configured.cpus:g}"
    if configured.shm_size is not None:
        yield f"PodmanArgs=--shm-size={size_in_bytes(configured.shm_size)}b"
    if configured.pids:
        yield f"PodmanArgs=--pids-limit={configured.pids}"
    yield from ("", "[Service]", "Restart=always", "RestartSec=15", "TimeoutStartSec=900")
    yield from _INSTALL


def _volume(text: str) -> str:
    source, target, *rest = text.split(":")
    if is_named_volume(source):
        source = f"{object_name(source)}.volume"
    else:
        source = str(Path(source).expanduser().absolute())
    return _escaped(":".join([source, target, *rest]))


def _named_volumes(services: Iterable[ExportedService]) -> list[str]:
    sources = (text.partition(":")[0] for each in services for text in each.container.volumes)
    return list(dict.fromkeys(object_name(each) for each in sources if is_named_volume(each)))


def _escaped(text: str) -> str:
    """A value in which systemd replaces nothing: "%" begins a specifier, systemd.unit(5)."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a value, as systemd.syntax(7) quotes it."""
    text = _escaped(text)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def _notes(plan: Plan) -> Iterator[str]:
    yield (
        "copy the files to ~/.config/containers/systemd (or, as root, to"
        " /etc/containers/systemd); then: systemctl --user daemon-reload"
        f" && systemctl --user start {plan.name}"
    )
    for key in plan.all_secrets:
        yield f"make the secret: podman secret create {secret_name(plan, key)} FILE"
