"""Where a node is: the control socket in its storage folder, or a URL with a token."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from infernet_edge.config.secret_files import Secret, read_secret

URL_VARIABLE: Final = "INFERNET_EDGE_URL"
TOKEN_VARIABLE: Final = "INFERNET_EDGE_TOKEN"  # noqa: S105 - the name of a variable

_PORTS: Final = {"http": 80, "https": 443}
_USUAL_PORT: Final = 4000
_MAX_URL: Final = 2000  # characters
_MAX_TOKEN: Final = 4096  # characters


class WrongUsage(ValueError):
    """An argument or a variable has no usable value; the text says what is expected."""


class NodeAddress(NamedTuple):
    """Where a node is, and what identifies this client there.

    With `socket` it is the control socket of a local node, and there is no token. Otherwise `host`
    and `port` are those of a URL, `base` is the path before the paths of the API, "" for none.
    """

    host: str = "node"
    port: int = 0
    base: str = ""
    secure: bool = False
    socket: Path | None = None
    token: Secret = Secret("")
    authority: Path | None = None
    """A PEM file with certificates to trust instead of those of the system."""

    @property
    def authority_form(self) -> str:
        """Host and port as the header Host has them, RFC 9110, 7.2; without the zone of IPv6."""
        if self.socket is not None:
            return self.host
        host = self.host.partition("%")[0]
        shown = f"[{host}]" if ":" in host else host
        return shown if self.port == _PORTS[self.scheme] else f"{shown}:{self.port}"

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return "https" if self.secure else "http"

    @property
    def name(self) -> str:
        """What identifies the node in texts."""
        if self.socket is not None:
            return str(self.socket)
        return f"{self.scheme}://{self.authority_form}{self.base}"


def parse_url(text: str) -> NodeAddress:
    """The address in a URL such as http://raspberrypi.local:4000; raises WrongUsage.

    A path is put before the paths of the API, for a reverse proxy.
    """
    expected = f"expected http://HOST:PORT or https://HOST:PORT, such as http://pi:{_USUAL_PORT}"
    if not text.isprintable() or " " in text or len(text) > _MAX_URL:
        raise WrongUsage(f"{expected}, without spaces")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host = host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise WrongUsage(f"{expected}; found a host or a port that is not valid") from None
    if parts.scheme not in _PORTS or not host:
        without = re.fullmatch(r"[\w.-]{1,100}(:\d{1,5})?", text)
        raise WrongUsage(
            f"expected http://{text}, with http:// or https://" if without else expected
        )
    if parts.username is not None or parts.password is not None:
        raise WrongUsage(f"{expected}, without a name or password; a token: {_where()}")
    if parts.query or parts.fragment:  # not shown: the URL of a web page may have the token there
        raise WrongUsage(f"{expected}, without ? and #; a token: {_where()}")
    secure = parts.scheme == "https"
    base = quote(parts.path.rstrip("/"), safe="/%")
    return NodeAddress(host, port or _PORTS[parts.scheme], base, secure)


def _where() -> str:
    return f"put it in {TOKEN_VARIABLE}, or in a file for --token-file"


def find_token(file: Path | None, environment: Mapping[str, str]) -> Secret:
    """The token in a file, or in the environment; empty without one. Raises WrongUsage.

    Prints a warning when other users may read the file.
    """
    if file is None:
        return _checked(environment.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE)
    try:
        text, mode = read_secret(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WrongUsage(f"--token-file {file}: it cannot be read ({reason})") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        print(
            f"warning: other users of this machine may use {file}. Protect it with:"
            f" chmod 600 {file}",
            file=sys.stderr,
        )
    if not text:
        raise WrongUsage(f"--token-file {file}: expected a token in it, found nothing")
    return _checked(text, f"--token-file {file}")


def _checked(token: str, place: str) -> Secret:
    if not (token.isascii() and token.isprintable()) or " " in token or len(token) > _MAX_TOKEN:
        raise WrongUsage(
            f"{place}: expected one token, at most {_MAX_TOKEN} visible ASCII characters"
        )
    return Secret(token)
