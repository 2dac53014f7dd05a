"""GET /api/settings: what is in force, from where, and who may come in. For operators."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.permissions import Permission
from infernet_edge.api.endpoints.tokens import listed
from infernet_edge.api.json_io import Answer
from infernet_edge.api.overview.certificate import Certificate
from infernet_edge.api.overview.overview import OverviewSource
from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.keys.settings import Setting, settings
from infernet_edge.config.loading import load
from infernet_edge.errors import Unavailable
from infernet_edge.schema import TokenInfo
from infernet_edge.tasks import BlockingReads

if TYPE_CHECKING:
    from infernet_edge.api.parts import Parts

_READ_TIMEOUT: Final = 10.0  # seconds for the files of the configuration


class SettingsInForce(Struct, frozen=True):
    """All settings, without secrets; `problems` are those of the file as it is now."""

    items: list[Setting]
    problems: list[str]
    tokens: list[TokenInfo]
    tls: Certificate | None
    files: list[str]


class SettingsEndpoint:
    """The settings in force."""

    methods = ("GET", "HEAD")
    permissions: Final = {"GET": Permission.OPERATE, "HEAD": Permission.OPERATE}

    def __init__(self, parts: Parts, overview: OverviewSource) -> None:
        self._parts = parts
        self._overview = overview
        self._reads = BlockingReads(_READ_TIMEOUT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = self._parts
        config, source = parts.reloader.config, parts.source
        try:
            items = await self._reads.run(partial(settings, config, source, os.environ))
            problems = await self._reads.run(self._problems)
        except TimeoutError:
            raise Unavailable("The configuration cannot be read now: is its disk slow?") from None
        files = [source, config.database_path, config.log.path]
        if config.server.tls is not None:
            files += [config.server.tls.cert, config.server.tls.key]
        found: Any = SettingsInForce(
            items,
            problems,
            listed(parts.tokens).tokens,
            await self._overview.certificate(),
            [str(file) for file in files if file],
        )
        await Answer(found)(scope, receive, send)

    def _problems(self) -> list[str]:
        """What is wrong with the file, or in force only after a restart. Blocks for a moment."""
        source = self._parts.source
        if source is None:
            return []
        try:
            loaded = load(Path(source))
        except ConfigurationError as error:
            return [f"The configuration was changed and has errors now: {error}"]
        problems = list(loaded.warnings)
        if loaded.config != self._parts.reloader.config:
            problems.append(
                "The configuration was changed after the start: reload it, or restart the node"
            )
        return problems
