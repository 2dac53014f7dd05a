"""A node with two servers of models, as clients of OpenAI's API see it.

async with fronted(tmp_path) as node:
    async with node.client() as client:
        await client.models.list()
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai

from tests.support.openai_server import OpenAIServer
from tests.support.running import Reply, RunningNode, running
from tests.support.serving import serving
from tests.support.text_service import TextService

MESSAGES: list[Any] = [{"role": "user", "content": "Good day"}]
CHAT: dict[str, Any] = {"model": "greeter", "messages": MESSAGES}
OPERATOR = {"authorization": "Bearer operator-token-0001"}


class FrontedNode(RunningNode):
    """A node, and the servers behind it: `server` is "llm", `texts` is "hi" and "raw"."""

    server: OpenAIServer
    texts: TextService

    def client(self, key: str = "none", **settings: Any) -> openai.AsyncOpenAI:
        """OpenAI's own library; it repeats nothing."""
        settings = {"max_retries": 0, "timeout": 20} | settings
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **settings)

    async def chat(self, headers: Mapping[str, str] | None = None, **keys: Any) -> Reply:
        """POST /v1/chat/completions."""
        return await self.post("/v1/chat/completions", CHAT | keys, headers)

    async def last_job(self) -> dict[str, Any]:
        """The newest job, in the form of GET /api/history."""
        return dict((await self.get("/api/history?limit=1")).body["items"][0])


def document(llm: str, texts: str) -> dict[str, Any]:
    """`qwen` is in two containers; `raw` speaks HTTP, and its models have other names."""
    http = {"protocol": "http", "path": "/generate", "url": texts}
    return {
        "containers": [
            {"id": "llm", "url": llm, "protocol": "openai"},
            {"id": "hi", "url": texts, "models": ["greeter", "qwen"]},
            {"id": "raw", "models": ["grüße/größe 😀"], **http},
            {"id": "part", "models": ["part"], "result": "/inner", **http},
            {"id": "inside", "url": texts, "models": ["secret"], "external": False},
        ]
    }


@asynccontextmanager
async def fronted(
    folder: Path, more: Mapping[str, Any] | None = None, **of_texts: Any
) -> AsyncIterator[FrontedNode]:
    """Run a node within the block; `more` is added to its configuration, `of_texts` to "hi"."""
    server, texts = OpenAIServer("owner/small", "qwen"), TextService()
    async with serving(server) as llm, serving(texts) as url:
        settings = document(llm, url) | dict(more or {})
        settings["containers"][1] |= of_texts
        async with running(folder, settings) as node:
            found = FrontedNode(node.node, node.session)
            found.server, found.texts = server, texts
            try:
                yield found
            finally:
                texts.release()
