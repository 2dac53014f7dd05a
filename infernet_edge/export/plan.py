"""What is exported: the node's configuration in its new place, services, secrets, and notes.

No secret is in it. What the configuration keeps secret is named, and given to the node and the
services in the new place by that system's own secrets.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from infernet_edge.config.model import Config, Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.env_files import read_env_file
from infernet_edge.config.values.secret_texts import may_hold_secret
from infernet_edge.config.values.sleep import may_sleep
from infernet_edge.config.values.tokens import Token

STATE_PATH: Final = "/var/lib/infernet-edge"
SECRETS_PATH: Final = "/run/secrets/infernet-edge"
"""The folder of the node's secrets, each in a file with the name of its key (systemd.exec(5))."""

CONFIGURATION_PATH: Final = "/etc/infernet-edge/config.json"
RPC_VARIABLE: Final = "INFERNET_EDGE_CHAIN__RPC_URL"
_MAX_NAME: Final = 50  # characters of an object's name: 63 (RFC 1123) less what is appended

# What a container that runs elsewhere keeps of its configuration.
_KEPT: Final = (
    *("id", "external", "accepted_payments", "allowed_ips", "allowed_addresses"),
    *("allowed_delegate_addresses", "description", "generates_proofs", "timeout", "retries"),
    *("max_concurrency", "models", "task", "type", "health_path"),
    *("protocol", "path", "method", "result", "startup_timeout"),
)
# Keys that the exported node does not have; its containers follow.
_LEFT_OUT: Final = (
    *("podman", "docker", "containers", "log", "redis", "stats", "forward_stats", "max_running"),
)
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ExportedService(NamedTuple):
    """A container of the configuration that is run by the other system.

    `environment` may be shown; of `secrets` only the names are known here.
    """

    name: str
    container: Container
    environment: dict[str, str]
    secrets: list[str]

    def secret_key(self, variable: str) -> str:
        """The key of a secret variable among all secrets."""
        return f"containers.{self.container.id}.env.{variable}"

    @property
    def arguments(self) -> list[str]:
        """Those of its command; none where they may hold a secret, which a note says."""
        command = self.container.command
        return [] if may_hold_secret(command) else shlex.split(command)


class Plan(NamedTuple):
    """All that is exported. `secrets` are the keys of those of the node, without the RPC's URLs."""

    name: str
    image: str
    config: Config
    services: list[ExportedService]
    secrets: list[str]
    has_secret_rpc: bool
    notes: list[str]

    @property
    def port(self) -> int:
        """The port of the API, inside and outside."""
        return self.config.server.port or 4000

    @property
    def is_local(self) -> bool:
        """Whether the API is for programs of the same machine only."""
        return self.config.server.host in _LOOPBACK

    @property
    def all_secrets(self) -> list[str]:
        """The keys of all secrets, those of the services too."""
        rpc = [RPC_VARIABLE] if self.has_secret_rpc else []
        variables = [each.secret_key(name) for each in self.services for name in each.secrets]
        return [*self.secrets, *rpc, *variables]

    def configuration(self, addresses: Mapping[str, str]) -> dict[str, Any]:
        """The node's configuration in its new place; `addresses` are URLs by id of a container."""
        document = changed(self.config)
        for absent in _LEFT_OUT:
            document.pop(absent, None)
        server = document.setdefault("server", {})
        server.pop("tokens", None)
        if limited := dict(_limited_tokens(self.config)):
            server["tokens"] = limited
        server["host"] = "0.0.0.0"  # of the container: what is published decides who reaches it
        server["port"] = self.port
        server["allowed_hosts"] = [*self.config.server.allowed_hosts, self.name]
        if self.config.server.tls is not None:
            server["tls"] = {name: f"{SECRETS_PATH}/server.tls.{name}" for name in ("cert", "key")}
        document["storage"] = {**document.get("storage", {}), "path": STATE_PATH}
        document["manage_containers"] = False
        chain = document.get("chain", {})
        chain.pop("rpc_url", None)
        for secret in ("private_key", "keystore_password"):
            chain.get("wallet", {}).pop(secret, None)
        if self.config.chain.wallet.keystore:
            chain["wallet"]["keystore"] = f"{SECRETS_PATH}/chain.wallet.keystore"
        document["containers"] = [
            _elsewhere(each, addresses.get(each.id, each.url)) for each in self.config.containers
        ]
        return document


def make_plan(config: Config, name: str, image: str, *, show_environment: bool) -> Plan:
    """The plan for a configuration.

    `image` is that of the node itself. With `show_environment` the text variables of containers
    are exported; without, they are secrets, since nothing says which of them are.
    """
    services = []
    names: set[str] = {name}
    for container in config.containers:
        if container.image:
            chosen = _unique(container.id, names)
            services.append(_service(chosen, container, show_environment=show_environment))
    return Plan(
        name,
        image,
        config,
        services,
        list(_secrets(config)),
        bool(config.chain.enabled and config.chain.rpc_url),
        list(_notes(config)),
    )


def changed(config: Config) -> dict[str, Any]:
    """The values that differ from the defaults, as a document; secrets are "hidden"."""
    return _changed(config, Config())


def object_name(text: str) -> str:
    """A name that Kubernetes and DNS accept (RFC 1123), similar to a text."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower())[:_MAX_NAME].strip("-")
    return name or "service"


def _changed(value: msgspec.Struct, default: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in value.__struct_fields__:
        here, usual = getattr(value, field), getattr(default, field)
        if here == usual:
            continue
        if isinstance(here, msgspec.Struct) and isinstance(usual, msgspec.Struct):
            found[field] = _changed(here, usual)
        else:
            found[field] = msgspec.to_builtins(here, enc_hook=lambda secret: "hidden")
    return found


def _elsewhere(container: Container, url: str) -> dict[str, Any]:
    document = _changed(container, Container(id=""))
    kept: dict[str, Any] = {name: document[name] for name in _KEPT if name in document}
    for table, names in _sent_secrets(container).items():
        kept[table] = {name: {"file": f"{SECRETS_PATH}/{key}"} for name, key in names.items()}
    return {"url": url.partition("?")[0], **kept}


def _sent_secrets(container: Container) -> dict[str, dict[str, str]]:
    """The values of `headers` and `query`, which may all be secret: name -> key among the secrets.

    Keys may have only letters, digits, "-", "_" and "." there.
    """
    found: dict[str, dict[str, str]] = {}
    for table in ("headers", "query"):
        for number, name in enumerate(getattr(container, table)):
            last = name if _KEY.fullmatch(name) else number
            found.setdefault(table, {})[name] = f"containers.{container.id}.{table}.{last}"
    return found


def _unique(text: str, taken: set[str]) -> str:
    name, number = object_name(text), 1
    while name in taken:
        number += 1
        name = f"{object_name(text)}-{number}"
    taken.add(name)
    return name


def _service(name: str, container: Container, *, show_environment: bool) -> ExportedService:
    shown: dict[str, str] = {}
    secrets = [each for each in _variables_of_file(container) if each not in container.env]
    for variable, value in container.env.items():
        if isinstance(value, Secret) or (isinstance(value, str) and not show_environment):
            secrets.append(variable)
        else:
            shown[variable] = str(value)
    return ExportedService(name, container, shown, secrets)


def _limited_tokens(config: Config) -> Iterator[tuple[str, dict[str, str]]]:
    """What tokens are limited to; the tokens themselves come as secrets."""
    for name, token in config.server.tokens.items():
        if isinstance(token, Token):
            limits = {"scope": token.scope, "expires": token.expires}
            yield name, {key: value for key, value in limits.items() if value}


def _variables_of_file(container: Container) -> list[str]:
    """The names in its `env_file`; those of one that cannot be read are in the notes."""
    try:
        return list(read_env_file(container.env_file)) if container.env_file else []
    except (OSError, ValueError):
        return []


def _secrets(config: Config) -> Iterable[str]:
    server, wallet = config.server, config.chain.wallet
    yield from (f"server.tokens.{client}" for client in server.tokens)
    if server.tls is not None:
        yield from ("server.tls.cert", "server.tls.key")
    if config.chain.enabled:
        for name in ("private_key", "keystore", "keystore_password"):
            if getattr(wallet, name):
                yield f"chain.wallet.{name}"
    yield from (f"containers.{each.id}.bearer" for each in config.containers if each.bearer)
    for each in config.containers:
        yield from (key for table in _sent_secrets(each).values() for key in table.values())


def _notes(config: Config) -> Iterable[str]:
    """What cannot be expressed in any other system."""
    if config.docker.username or config.docker.password:
        yield (
            f"docker: the login for {config.docker.registry} is not exported; give it to the other"
            " system"
        )
    if config.log.path:
        yield "log.path: the log goes to the other system, which keeps it"
    if sleeping := [each.id for each in config.containers if may_sleep(each, config)]:
        yield (
            f"max_running, start, idle_timeout, exclusive: {', '.join(sleeping)} run all the time"
            " there, at the same time"
        )
    for number, each in enumerate(config.containers):
        place = f"containers[{number}] ({each.id})"
        if each.url and urlsplit(each.url).hostname in _LOOPBACK:
            yield (
                f"{place}.url: {each.url.partition('?')[0]} is this machine, which the exported"
                " node cannot reach; use the machine's address in the network"
            )
        if may_hold_secret(each.command):
            yield f"{place}.command: it may hold a secret, so it is left out; add it to the file"
        if may_hold_secret(each.url):
            yield f"{place}.url: its query may be a secret, so it is left out; add it to the file"
        if each.env_file and not _variables_of_file(each):
            yield f"{place}.env_file: {each.env_file} has no variables, or cannot be read"
        for volume in each.volumes:
            source = volume.partition(":")[0]
            if source.startswith(("/", "~")) and not Path(source).expanduser().exists():
                yield f"{place}.volumes: {source} does not exist here"
