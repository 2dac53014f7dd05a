"""The API with the real curl."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.asking_models import CHAT, fronted

TOKEN = "laptop-token-000001"


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "20", *arguments), stdout=asyncio.subprocess.PIPE
    )
    content, _ = await process.communicate()
    assert process.returncode == 0
    return content.decode()


async def test_curl(tmp_path: Path) -> None:
    async with fronted(tmp_path, {"server": {"tokens": {"laptop": TOKEN}}}) as node:
        own = ("-H", f"Authorization: Bearer {TOKEN}")
        url = f"{node.url}/v1"
        found = json.loads(await curl(*own, f"{url}/models"))
        assert found["data"][0]["id"] == "owner/small"
        found = json.loads(await curl(*own, f"{url}/models/owner/small"))
        assert json.loads(await curl(*own, f"{url}/models/owner%2Fsmall")) == found
        chat = f"{url}/chat/completions"
        answer = json.loads(await curl(*own, chat, "-d", json.dumps(CHAT)))
        assert answer["choices"][0]["message"]["content"] == "Hello"
        body = json.dumps(CHAT | {"stream": True})
        streamed = await curl("-Ni", *own, chat, "-H", "content-type: application/json", "-d", body)
        assert "x-infernet-job-id: " in streamed
        assert "content-type: text/event-stream" in streamed
        assert streamed.endswith("data: [DONE]\n\n")
        refused = await curl("-w", "%{http_code}", chat, "-d", body)
        assert refused.endswith("401")
        assert json.loads(refused[:-3])["error"]["code"] == "invalid_api_key"
