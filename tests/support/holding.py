"""Two containers whose calls a test holds, to look at jobs while they wait and while they run.

async with two_containers(echo) as document, running(tmp_path, document) as node:
    job = await node.job(data=HOLD)
    echo.release()
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.support.serving import Echo, serving

HOLD: Final = {"hold": True}
"""Data of a job whose call is not answered before `Echo.release`."""


@asynccontextmanager
async def two_containers(echo: Echo, **of_second: Any) -> AsyncIterator[dict[str, Any]]:
    """A configuration: "echo" has one slot, and "b" the settings `of_second`; both are `echo`."""
    async with serving(echo) as url:
        first = {"id": "echo", "url": url, "max_concurrency": 1}
        yield {"containers": [first, {"id": "b", "url": f"{url}/b", **of_second}]}
