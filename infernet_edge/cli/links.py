"""The link by which a browser opens a node, and what a newcomer needs to know beside it."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from infernet_edge.config import Config

OWNER: Final = "owner"
"""The name of the first token, in what is proposed."""

_ROOM: Final = 78  # columns for a link, after two spaces


def link_to(urls: Sequence[str], own: str, token: str = "") -> str:
    """The link to open: by NAME.local where `urls` has one, else by its first address.

    `urls` are those for other machines (`Node.network_urls`), which have NAME.local only where it
    is announced; `own` is the one for programs on this machine, for a node without others. A name
    that makes the link longer than a line is not used. The token is in the fragment, which a
    browser does not send.
    """
    end = f"/#token={token}" if token else "/"
    links = [url + end for url in (*filter(_has_local_name, urls), *urls, own)]
    return next((link for link in links if len(link) <= _ROOM), links[0])


def open_lines(urls: Sequence[str], own: str) -> Iterator[str]:
    """How a browser opens the node."""
    link = link_to(urls, own)
    if not urls:
        yield "Open it in a browser on this machine:"
    else:
        yield "Open it in a browser, also on a phone in the same network:"
    yield f"  {link}"
    if _has_local_name(link) and (addresses := [u for u in urls if not _has_local_name(u)]):
        yield f"or, where that name is not found: {addresses[0]}/"


def access_lines(
    urls: Sequence[str], *, is_open: bool, option: str = "", sudo: bool = False
) -> Iterator[str]:
    """Who may use the node, and the command that protects it, or makes another token.

    `option` is what the command needs to find the configuration; `sudo`: it needs root.
    """
    start = "  sudo " if sudo else "  "
    if is_open:
        who = "Everyone in this network" if urls else "Everyone on this machine"
        yield f"{who} may use it. Protect it with a token:"
        yield start + token_command(option)
    else:
        yield "It asks for a token. Another one is made by:"
        yield start + token_command(option, "NAME")


def token_command(option: str = "", name: str = OWNER) -> str:
    """The command that makes a token for an operator."""
    return f"infernet-edge token new {name} --scope operator{option}"


def config_option(file: Path | None) -> str:
    """The option that names a configuration, "" when commands find it without."""
    return "" if file is None else f" --config {shlex.quote(str(file))}"


def urls_of(config: Config) -> list[str]:
    """The URLs at which other machines will reach a node that does not run yet; as of a running
    one. Reads the addresses of this machine, and asks avahi-daemon for its name. Blocks.
    """
    from infernet_edge.hardware.network import reachable_hosts

    host = config.server.host
    try:
        address = ipaddress.ip_address(host or "0.0.0.0")
    except ValueError:  # a name, which the node looks up when it starts
        return [] if host == "localhost" else [_url(config, host)]
    both = address.version == 6 and address.is_unspecified
    return [_url(config, each) for each in reachable_hosts(str(address), both=both)]


def own_url(config: Config) -> str:
    """The URL for programs on this machine."""
    from infernet_edge.hardware.network import url_host

    host = config.server.host
    return _url(config, url_host("127.0.0.1" if host in ("", "0.0.0.0", "::") else host))


def _url(config: Config, host: str) -> str:
    scheme = "https" if config.server.tls else "http"
    return f"{scheme}://{host}:{config.server.port}"


def _has_local_name(url: str) -> bool:
    return (urlsplit(url).hostname or "").endswith(".local")
