"""Check the rules between the keys of a configuration, beyond the type of each."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from infernet_edge.config.devices import is_cdi_name
from infernet_edge.config.errors import Information, Problem
from infernet_edge.config.model import TLS, Config, Container, Registry, Server
from infernet_edge.config.path_checks import (
    expanded,
    file_flaw,
    folder_flaw,
    new_file_flaw,
    socket_flaw,
    source_flaw,
)
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sections.chain import Chain, Wallet
from infernet_edge.config.sections.discovery import check_discovery
from infernet_edge.config.texts import printable
from infernet_edge.config.values import image_names
from infernet_edge.config.values.adapters import check_adapter
from infernet_edge.config.values.dates import DATE_FORMS, parse_date
from infernet_edge.config.values.env_files import read_env_file
from infernet_edge.config.values.input_schemas import check_input_schema, unknown_in_schemas
from infernet_edge.config.values.sleep import check_sleep, ignored_sleep
from infernet_edge.config.values.tokens import Token, secret_of

_ADDRESS = re.compile(r"^(0x)?[0-9a-fA-F]{40}$")
_KEY = re.compile(r"^(0x)?[0-9a-fA-F]{64}$")
_SIZE = re.compile(r"^(\d+)\s*([bkmg]?)b?$", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_NOT_IN_HOSTS = frozenset(" /\\:?#@[]")
_SHOWN = 100  # characters of a wrong path that are shown
# Bytes of the folder's path: SQLite opens no file whose path has more than 512 (MAX_PATHNAME of its
# os_unix.c), and the names in there, those of a damaged database too, have less than 64.
_MAX_STORAGE = 512 - 64
_ONLY_0_1 = (
    "chain.registry_address is not set, so only the coordinator of SDK 0.1 at"
    " chain.coordinator_address is followed. Subscriptions of SDK 1.x, with their payments, proofs"
    " and lazy answers, are not: for those, set chain.registry_address"
)
_SPARE_PORT = 3999  # the reference node assigns 3999, 3998, … when ports conflict


def size_in_bytes(size: int | str) -> int:
    """Bytes of a memory limit such as 536870912 or "512m"; raises ValueError."""
    match = _SIZE.match(str(size).strip())
    if match is None:
        raise ValueError(f"not a size: {size!r}")
    return int(match.group(1)) * _UNITS[match.group(2).lower()]


def check(config: Config, environment: Mapping[str, str]) -> list[Problem]:
    """All errors that show only when keys are compared, or when what they name is checked."""
    problems = [*_check_server(config.server), *_check_chain(config.chain)]
    problems += check_discovery(config.discovery)
    for position, container in enumerate(config.containers):
        managed = config.manage_containers and not container.url
        problems += _check_container(container, f"containers[{position}]", managed=managed)
        first = next(n for n, other in enumerate(config.containers) if other.id == container.id)
        if first != position:
            expected = f"a unique id (containers[{first}] has the same)"
            problems.append(Problem(f"containers[{position}].id", f'"{container.id}"', expected))
    if not image_names.is_registry(image_names.normalized_registry(config.docker.registry)):
        expected = "a registry such as docker.io or registry.example:5000"
        found = printable(_shown(config.docker.registry))
        problems.append(Problem("docker.registry", found, expected))
    if config.podman.url and not _is_podman_url(config.podman.url):
        expected = "unix:///path/of/a/socket or tcp://host:port"
        problems.append(Problem("podman.url", _shown(config.podman.url), expected))
    if config.log.path and (found := new_file_flaw(config.log.path, suffix=len(".100"))):
        expected = "a path of a file that the node can write"
        problems.append(_wrong_path("log.path", config.log.path, found, expected))
    if config.backup.path is not None and not config.backup.path.startswith("/"):
        expected = "the absolute path of a folder, such as /mnt/usb/backups"
        problems.append(Problem("backup.path", _shown(config.backup.path), expected))
    path = _storage_path(config, environment)
    if found := folder_flaw(path, max_bytes=_MAX_STORAGE):
        expected = "a folder for the node's data: set storage.path to a path of one"
        problems.append(_wrong_path("storage.path", path, found, expected))
    return problems


def _storage_path(config: Config, environment: Mapping[str, str]) -> str:
    """The folder of the node's data; it may begin with ~."""
    if path := config.storage.path or environment.get("STATE_DIRECTORY", "").split(":")[0]:
        return path
    return str(Path(environment.get("XDG_DATA_HOME") or "~/.local/share", "infernet-edge"))


def _wrong_path(key: str, path: str, flaw: str, expected: str) -> Problem:
    return Problem(key, f"{printable(_shortened(path))} ({printable(flaw)})", expected)


def _check_server(server: Server) -> Iterator[Problem]:
    if server.host and not is_host(server.host):
        yield Problem("server.host", f'"{printable(server.host)}"', "an address or a host name")
    yield from _check_networks(server.trusted_proxies, "server.trusted_proxies")
    yield from _check_origins(server.allowed_origins)
    for name, token in server.tokens.items():
        yield from _check_token(token, f"server.tokens.{name}")
    minimum = server.min_held_bytes
    if server.max_held_bytes is not None and server.max_held_bytes < minimum:
        expected = f"at least {minimum} (3 times server.max_body_bytes, and a little more)"
        yield Problem("server.max_held_bytes", str(server.max_held_bytes), expected)
    if server.tls is not None:
        for key, path in (("cert", server.tls.cert), ("key", server.tls.key)):
            if found := file_flaw(path):
                expected = "a file that the node can read"
                yield _wrong_path(f"server.tls.{key}", path, found, expected)


def _check_token(token: Secret | Token, path: str) -> Iterator[Problem]:
    secret = secret_of(token)
    # A table without a secret has a wrong one, which is reported.
    if len(secret.reveal()) < 16 and (secret or isinstance(token, Secret)):
        yield Problem(path, "a short text", "at least 16 characters")
    yield from _check_header(secret, path)
    if isinstance(token, Token) and token.expires and parse_date(token.expires) is None:
        yield Problem(f"{path}.expires", printable(_shown(token.expires)), DATE_FORMS)


def _check_origins(origins: list[str]) -> Iterator[Problem]:
    """Each must have the form in which browsers send it: it is compared as a text."""
    for position, text in enumerate(origins):
        origin = _origin_of(text)
        if origin == text:
            continue
        expected = f'"{origin}", as browsers send it'
        if origin is None:
            expected = "an exact origin such as https://app.example (not *, not null, not a file)"
        yield Problem(f"server.allowed_origins[{position}]", printable(_shown(text)), expected)


def _origin_of(text: str) -> str | None:
    """The origin of a URL as browsers send it, RFC 6454, 6.2; None when it has none."""
    try:
        url = urlsplit(text.strip())
        host, port = (url.hostname or "").encode("idna").decode(), url.port
    except ValueError:  # of the port, the brackets of IPv6, or the name
        return None
    if not url.scheme or url.scheme == "file" or "*" in host or not is_host(host) or port == 0:
        return None
    shown = f"[{ipaddress.ip_address(host)}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{shown}" + ("" if port in (None, default) else f":{port}")


def _check_header(token: Secret | None, path: str) -> Iterator[Problem]:
    """A token is sent in a header, which is one line."""
    if token and any(sign < " " or sign == "\x7f" for sign in token.reveal()):
        yield Problem(path, "text with a control character", "text of one line, for a header")


def _check_container(container: Container, path: str, *, managed: bool) -> Iterator[Problem]:
    if managed:
        yield from _check_image(container.image, f"{path}.image")
    if container.url and not _is_http_url(container.url):
        yield Problem(f"{path}.url", _shown(container.url), "a URL such as http://10.0.0.5:3000")
    elif _has_user(container.url):
        expected = "a URL without user name and password; bearer is for a token"
        yield Problem(f"{path}.url", _shown(container.url), expected)
    yield from _check_header(container.bearer, f"{path}.bearer")
    yield from _check_networks(container.allowed_ips, f"{path}.allowed_ips")
    yield from _check_volumes(container.volumes, f"{path}.volumes")
    for name in container.env:
        if not name or "=" in name:
            expected = "a name of an environment variable, without ="
            yield Problem(f"{path}.env", f'"{printable(name)}"', expected)
    if container.env_file and managed and (found := _env_file_flaw(container.env_file)):
        expected = "a file with NAME=value on each line, which the node can read"
        yield _wrong_path(f"{path}.env_file", container.env_file, found, expected)
    try:
        shlex.split(container.command)
    except ValueError as error:
        found = f"text that cannot be split as a shell does ({error})"
        yield Problem(f"{path}.command", found, "arguments with balanced quotes")
    yield from _check_devices(container, path)
    for key in ("memory", "shm_size"):
        size = getattr(container, key)
        if size is not None and not _SIZE.match(str(size).strip()):
            yield Problem(f"{path}.{key}", f'"{size}"', 'bytes, or text such as "512m"')
    yield from check_adapter(container, path)
    yield from check_sleep(container, path)
    yield from check_input_schema(container, path)
    for key in ("allowed_addresses", "allowed_delegate_addresses", "accepted_payments"):
        for address in getattr(container, key):
            if not _ADDRESS.match(address):
                yield Problem(f"{path}.{key}", f'"{address}"', "an address of 40 hex digits")
    if container.health_path and not container.health_path.startswith("/"):
        yield Problem(f"{path}.health_path", f'"{container.health_path}"', "a path such as /health")


def _env_file_flaw(path: str) -> str:
    """Why a file with environment variables cannot be used; "" when it can."""
    if found := file_flaw(path):
        return found
    try:
        read_env_file(path)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
    return ""


def _check_image(image: str, path: str) -> Iterator[Problem]:
    if not image:
        yield Problem(path, "nothing", "an image, or the url of a running service")
        return
    try:
        image_names.parse(image)
    except image_names.InvalidName as error:
        found = f"{printable(_shortened(image))} ({printable(str(error))})"
        expected = "a name such as alpine:3 or ghcr.io/owner/name:tag"
        yield Problem(path, found, expected)


def _shortened(text: str) -> str:
    return f'"{text}"' if len(text) <= _SHOWN else f'"{text[:_SHOWN]}…"'


def _check_devices(container: Container, path: str) -> Iterator[Problem]:
    for position, device in enumerate(container.devices):
        if not device.startswith("/") and not is_cdi_name(device):
            expected = "a path such as /dev/hailo0, or a CDI name such as nvidia.com/gpu=0"
            yield Problem(f"{path}.devices[{position}]", f'"{device}"', expected)


def _check_volumes(volumes: list[str], path: str) -> Iterator[Problem]:
    for position, volume in enumerate(volumes):
        source, *rest = volume.split(":")
        expected = "source:/target[:options]"
        if not 1 <= len(rest) <= 2 or not source or not rest[0].startswith("/"):
            yield Problem(f"{path}[{position}]", f'"{printable(volume)}"', expected)
        elif found := source_flaw(source):
            yield _wrong_path(f"{path}[{position}]", volume, found, expected)


def _check_chain(chain: Chain) -> Iterator[Problem]:
    for key in ("registry_address", "coordinator_address"):
        value = getattr(chain, key)
        if value and not _ADDRESS.match(value):
            yield Problem(f"chain.{key}", f'"{value}"', "an address of 40 hex digits")
    payment = chain.wallet.payment_address
    if payment and not _ADDRESS.match(payment):
        yield Problem("chain.wallet.payment_address", f'"{payment}"', "an address of 40 hex digits")
    urls = [chain.rpc_url] if isinstance(chain.rpc_url, str) else chain.rpc_url
    for position, url in enumerate(urls):
        if url and not _is_http_url(url):
            where = (
                f"chain.rpc_url[{position}]" if isinstance(chain.rpc_url, list) else "chain.rpc_url"
            )
            yield Problem(where, "text", "a URL that begins with http:// or https://")
    if not chain.enabled:
        return
    if not any(urls):
        yield Problem("chain.rpc_url", "nothing", "the URL of a JSON-RPC server")
    if not chain.registry_address and not chain.coordinator_address:
        yield Problem("chain.registry_address", "nothing", "the address of the registry contract")
    yield from _check_key(chain.wallet)


def _check_key(wallet: Wallet) -> Iterator[Problem]:
    """Exactly one key must be set: as text, or in a keystore."""
    if wallet.keystore:
        if wallet.private_key:
            yield Problem("chain.wallet.keystore", "a private_key beside it", "only one of the two")
        if found := file_flaw(wallet.keystore):
            expected = "a file that the node can read"
            yield _wrong_path("chain.wallet.keystore", wallet.keystore, found, expected)
        if not wallet.keystore_password:
            yield Problem("chain.wallet.keystore_password", "nothing", "the keystore's password")
    elif wallet.private_key is None or not _KEY.match(wallet.private_key.reveal()):
        found = "text in another format" if wallet.private_key else "nothing"
        expected = "64 hex digits, with or without 0x (infernet-edge wallet new makes a key)"
        yield Problem("chain.wallet.private_key", found, expected)


def is_host(text: str) -> bool:
    """Whether `text` is an IP address, or a name that can be resolved."""
    if not text:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        try:
            text.encode("idna")
        except UnicodeError:
            return False
        return not any(
            sign.isspace() or not sign.isprintable() or sign in _NOT_IN_HOSTS for sign in text
        )
    return True


def _is_podman_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        if url.scheme == "unix":
            return not socket_flaw(text.removeprefix("unix://"))
        return url.scheme == "tcp" and is_host(url.hostname or "") and url.port != 0
    except ValueError:  # of the port, or the brackets of IPv6
        return False


def _is_http_url(text: str) -> bool:
    """Whether requests can be sent there: a known scheme, a host that can be resolved, a port."""
    try:
        url = urlsplit(text)
        host = (url.hostname or "").encode("idna")
        return url.scheme in ("http", "https") and bool(host) and url.port != 0
    except ValueError:  # of the port, the brackets of IPv6, or the name
        return False


def _has_user(url: str) -> bool:
    return "@" in urlsplit(url).netloc


def _shown(url: str) -> str:
    """A URL without the user name and the password that it may contain."""
    shown = re.sub(r"^(\s*[a-z0-9+.-]*:?//)?.*@", r"\1***@", url, flags=re.IGNORECASE | re.DOTALL)
    return f'"{shown}"'


def _check_networks(networks: list[str], path: str) -> Iterator[Problem]:
    for position, network in enumerate(networks):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            expected = "an address or a network such as 192.168.1.0/24"
            yield Problem(f"{path}[{position}]", f'"{network}"', expected)


def resolve(config: Config, environment: Mapping[str, str]) -> tuple[Config, list[str]]:
    """Fill in values that depend on other keys or on the machine; returns them with warnings."""
    warnings: list[str] = []
    containers = _spread_ports(config, warnings)
    warnings += unknown_in_schemas(config.containers)
    warnings += ignored_sleep(config)
    path = _expanded_if_possible(_storage_path(config, environment))
    log_path = config.log.path and _expanded_if_possible(config.log.path)
    if config.redis:
        note = "redis is ignored: jobs are kept in SQLite, no other service is needed"
        warnings.append(Information(note))
    if config.forward_stats:
        warnings.append(Information("forward_stats is ignored: nothing leaves the device"))
    registry = image_names.normalized_registry(config.docker.registry)
    docker = msgspec.structs.replace(config.docker, registry=registry)
    if note := _unused_login(config, docker):
        warnings.append(note)
    chain = config.chain
    if chain.enabled and chain.coordinator_address and not chain.registry_address:
        warnings.append(_ONLY_0_1)
    resolved = msgspec.structs.replace(
        config,
        containers=containers,
        docker=docker,
        log=msgspec.structs.replace(config.log, path=log_path),
        server=_with_expanded_paths(config.server),
        chain=_with_prefixes(config.chain),
        storage=msgspec.structs.replace(config.storage, path=path),
    )
    return resolved, warnings


def _unused_login(config: Config, docker: Registry) -> str:
    """A note that no image is from the registry of the login, which may be for another one."""
    if not docker.username or not docker.password or not config.manage_containers:
        return ""
    images = [each.image for each in config.containers if each.image and not each.url]
    others = dict.fromkeys(map(image_names.registry_of, images))
    others.pop("localhost", None)
    if not others or docker.registry in others:
        return ""
    return (
        f"docker.username and docker.password belong to {docker.registry} and are not used: no"
        f" image is from there. If they belong to {' or '.join(map(printable, others))}, set"
        " docker.registry"
    )


def _with_expanded_paths(server: Server) -> Server:
    if server.tls is None:
        return server
    cert, key = _expanded_if_possible(server.tls.cert), _expanded_if_possible(server.tls.key)
    return msgspec.structs.replace(server, tls=TLS(cert=cert, key=key))


def _expanded_if_possible(path: str) -> str:
    """A path without ~, absolute. Unchanged if that is not possible, which `check` reports."""
    try:
        return str(expanded(path).absolute())
    except (ValueError, OSError):
        return path


def _with_prefixes(chain: Chain) -> Chain:
    """Add 0x to addresses: the configuration may omit it, the chain package requires it."""
    payment = chain.wallet.payment_address
    return msgspec.structs.replace(
        chain,
        registry_address=_with_prefix(chain.registry_address),
        coordinator_address=_with_prefix(chain.coordinator_address),
        wallet=msgspec.structs.replace(
            chain.wallet, payment_address=payment and _with_prefix(payment)
        ),
    )


def _with_prefix(address: str) -> str:
    return address if not address or address.startswith("0x") else f"0x{address}"


def _spread_ports(config: Config, warnings: list[str]) -> list[Container]:
    """Assign another port to containers whose port is in use, as the reference node does."""
    local = [container for container in config.containers if not container.url]
    taken = {config.server.port, *(container.port for container in local)}
    used = {config.server.port}
    containers = []
    for position, container in enumerate(config.containers):
        # The node cannot choose the port of a container that it does not manage.
        if container.url or not config.manage_containers:
            containers.append(container)
            continue
        port = container.port
        if port in used or port == 0:
            port = next(spare for spare in range(_SPARE_PORT, 1023, -1) if spare not in taken)
            warnings.append(
                f"containers[{position}].port: {container.port} is taken, using {port} instead"
            )
        used.add(port)
        taken.add(port)
        containers.append(msgspec.structs.replace(container, port=port))
    return containers
