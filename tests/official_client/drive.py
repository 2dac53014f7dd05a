"""Drives a node through the official client and prints what the client saw, as one JSON object.

Runs in the official client's own environment: python drive.py http://127.0.0.1:4000. Expects the
containers "echo", "slow" (an echo that data.sleep holds up), "long" (a stream of data.n chunks,
data.gap seconds apart), "broken" and "internal".
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from typing import Any

from infernet_client.chain.subscription import Subscription  # type: ignore[import-not-found]
from infernet_client.error import APIError  # type: ignore[import-not-found]
from infernet_client.node import NodeClient  # type: ignore[import-not-found]

STREAMS = 3
ZERO = "0x" + 40 * "0"
OWNER = "0x" + 40 * "1"
KEY = "0x" + 64 * "1"


class Chain:
    """As much of the client's RPC class as a signature needs."""

    async def get_chain_id(self) -> int:
        return 31337


def job(*containers: str, **data: Any) -> dict[str, Any]:
    return {"containers": list(containers), "data": data}


async def refusal(call: Awaitable[Any]) -> dict[str, Any]:
    """The error that a call raises."""
    try:
        answer = await call
    except APIError as error:
        return {"status": error.status_code, "error": error.message, "params": error.params}
    raise AssertionError(f"was not refused: {answer!r}")


async def stream(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The first thing that a stream yields, which should be the job's id, and all the rest."""
    first, *rest = [chunk async for chunk in client.request_stream(request)]
    return {"id": first, "output": b"".join(rest).decode(), "pieces": len(rest)}


async def information(client: Any) -> dict[str, Any]:
    return {
        "health": await client.health(),
        "info": await client.get_info(),
        "resources": await client.get_resources(),
        "support": await client.check_model_support("huggingface/owner/model:v1"),
    }


async def single_jobs(client: Any) -> dict[str, Any]:
    direct = await client.request_job(job("echo", question="how are you?", wide=2**200))
    without_opinion = await client.request_jobs([{**job("echo", n=1), "requires_proof": None}])
    chained = await client.request_job(job("echo", "internal", n=2))
    broken = await client.request_job(job("echo", "broken", n=3))
    return {
        "direct": await client.get_job_result_sync(direct),
        "without_opinion": without_opinion,
        "chained": await client.get_job_result_sync(chained),
        "chained_in_full": await client.get_job_results([chained], intermediate=True),
        "broken": await client.get_job_result_sync(broken),
        "unknown": await client.get_job_result_sync("1f3b8f7e-6a3e-4c1e-9a54-000000000000"),
        "ids": [direct, chained, broken],
        "all_ids": await client.get_jobs(),
    }


async def batches(client: Any) -> dict[str, Any]:
    answers = await client.request_jobs([job("echo", n=1), job("nobody"), job("echo", n=3)])
    ids = [answer["id"] for answer in answers if "id" in answer]
    for each in ids:
        await client.get_job_result_sync(each)
    return {"answers": answers, "results": await client.get_job_results(ids[::-1])}


async def pending(client: Any) -> dict[str, Any]:
    held = await client.request_job(job("slow", sleep=3))
    seen = {
        "id": held,
        "pending": await client.get_jobs(pending=True),
        "finished": await client.get_jobs(pending=False),
        "while_running": await client.get_job_results([held]),
    }
    result = await client.get_job_result_sync(held, retries=30)
    return {**seen, "result": result, "pending_after": await client.get_jobs(pending=True)}


async def streams(client: Any) -> dict[str, Any]:
    seen = [await stream(client, job("long", n=6, gap=0.5)) for _ in range(STREAMS)]
    stored = [await client.get_job_result_sync(each["id"]) for each in seen]
    return {"seen": seen, "stored": stored}


async def refusals(client: Any) -> dict[str, Any]:
    subscription = Subscription(OWNER, 0, 3600, 1, 1, ["echo"], False, ZERO, 2**200 + 1, ZERO, ZERO)
    in_an_hour = int(time.time()) + 3600
    return {
        "job": await refusal(client.request_job(job("nobody"))),
        "internal": await refusal(client.request_job(job("internal"))),
        "stream": await refusal(stream(client, job("nobody"))),
        "delegated": await refusal(
            client.request_delegated_subscription(
                subscription, Chain(), ZERO, in_an_hour, 0, KEY, {}
            )
        ),
        "status": await refusal(client.record_status("mine", "lost", job("echo"))),
    }


async def reports(client: Any) -> dict[str, Any]:
    await client.record_status("my-own-job", "running", job("echo"))
    running = await client.get_job_results(["my-own-job"])
    counted = (await client.get_info())["pending"]
    await client.record_status("my-own-job", "success", job("echo"))
    return {
        "running": running,
        "counted": counted,
        "finished": await client.get_job_results(["my-own-job"]),
    }


async def main(url: str) -> None:
    client = NodeClient(url)
    parts = (information, single_jobs, batches, pending, streams, refusals, reports)
    print(json.dumps({part.__name__: await part(client) for part in parts}))


asyncio.run(main(sys.argv[1]))
