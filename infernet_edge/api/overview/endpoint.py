"""GET /api/overview."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from infernet_edge.api.json_io import Answer
from infernet_edge.api.overview.overview import OverviewSource


class OverviewEndpoint:
    """What a person sees first, in one answer."""

    methods = ("GET", "HEAD")

    def __init__(self, source: OverviewSource) -> None:
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Answer(await self._source.make(scope["caller"]))(scope, receive, send)
