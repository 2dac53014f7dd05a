"""The certificates of the machine's authorities, which HTTPS needs: 150 on a Debian.

Reading them takes 20 ms of a PC and 2 MB. A node whose containers and chain are on the LAN needs
none.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Iterator
from typing import Any

from infernet_edge.config.model import Config


class _Context(ssl.SSLContext):
    """Verifies servers, as `ssl.create_default_context` does; the authorities are read later."""

    _has_authorities = False

    def wrap_bio(self, *arguments: Any, **settings: Any) -> ssl.SSLObject:
        """Called by event loops for each connection."""
        self.read_authorities()
        return super().wrap_bio(*arguments, **settings)

    def read_authorities(self) -> None:
        """Read them once; blocks."""
        if not self._has_authorities:
            self.load_default_certs()
            self._has_authorities = True


@functools.cache
def client_context() -> ssl.SSLContext:
    """The TLS context of all requests of this process."""
    return _context()


@functools.cache
def _context() -> _Context:
    default = ssl.create_default_context(capath=os.devnull)  # with a place given, it reads no other
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags = default.verify_flags  # stricter from Python 3.13 on
    context.keylog_filename = default.keylog_filename
    context.set_alpn_protocols(["http/1.1"])
    return context


def read_authorities(config: Config) -> None:
    """Read the authorities if the configuration names a server with HTTPS; blocks.

    Without this call the first connection reads them, in the event loop.
    """
    if any(url.lower().startswith("https:") for url in _urls(config)):
        _context().read_authorities()


def _urls(config: Config) -> Iterator[str]:
    yield from (container.url for container in config.containers)
    if config.chain.enabled:
        urls = config.chain.rpc_url
        yield from [urls] if isinstance(urls, str) else urls
