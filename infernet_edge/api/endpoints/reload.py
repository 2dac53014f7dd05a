"""POST /api/reload: reads the configuration again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.permissions import Permission
from infernet_edge.api.json_io import Answer
from infernet_edge.config.model import Config
from infernet_edge.schema import ReloadReport


class Reloading(Protocol):
    """Reads the configuration again."""

    @property
    def config(self) -> Config:
        """The configuration in force, which a reload replaces."""

    async def reload(self) -> ReloadReport:
        """Apply what can be applied without a restart of the node."""


class ReloadEndpoint:
    """Answers what was applied, when that is done."""

    methods = ("POST",)
    permissions: Mapping[str, Permission] = {"POST": Permission.OPERATE}

    def __init__(self, reloader: Reloading) -> None:
        self._reloader = reloader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Answer(await self._reloader.reload(), is_due=True)(scope, receive, send)
