"""An HTTP proxy before a JSON-RPC server that behaves like the servers that people have.

async with RpcProxy(anvil.url) as proxy:
    proxy.behaviour = Behaviour(max_batch=3, batch_refusal="list_of_one_error")
    ...  # a node whose chain.rpc_url is proxy.url
    print(len(proxy.requests), proxy.counts["eth_call"], proxy.refused_share, proxy.peak)
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec
from aiohttp import web

from tests.support import rpc_heads as heads
from tests.support.ports import free_port
from tests.support.rpc_behaviours import (
    BATCH_REFUSALS,
    METHOD_REFUSALS,
    PARTIAL_REFUSALS,
    PENDING_REFUSALS,
    PER_ITEM,
    RATE_REFUSALS,
    REST_REFUSED,
    Answer,
    Behaviour,
    Budget,
    Calls,
    Reply,
    failure,
    method_error,
    respond,
)
from tests.support.rpc_transactions import transaction_error, transaction_hash

_HANGING = 120.0  # seconds, which no client waits


class Request(NamedTuple):
    """One HTTP request: when it came (seconds of the steady clock), and the methods in it.

    `refused`: the server did not take the request, or not all of its calls, because of their number
    or rate.
    """

    time: float
    methods: tuple[str, ...]
    refused: bool


class RpcProxy:
    """Hands requests on to `target` (a URL) as `behaviour` says, which may be set at any time.

    `requests` are all that came, `counts` how often each method was called.
    """

    def __init__(self, target: str, behaviour: Behaviour | None = None) -> None:
        self.target = target
        self.requests: list[Request] = []
        self.counts: Counter[str] = Counter()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._random = random.Random(0)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._mempool = asyncio.Lock()
        self.behaviour = behaviour or Behaviour()

    @property
    def behaviour(self) -> Behaviour:
        """How the server behaves now."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        known = {*BATCH_REFUSALS, *PARTIAL_REFUSALS}
        assert behaviour.batch_refusal in known, behaviour.batch_refusal
        assert behaviour.rate_refusal in {*RATE_REFUSALS, "per_item"}, behaviour.rate_refusal
        self._behaviour = behaviour
        rate = behaviour.requests_per_second
        burst = max(1, round(rate or 0)) if behaviour.burst is None else behaviour.burst
        self._budget = None if rate is None else Budget(rate, burst)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        await self.listen()
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.refuse_connections()
        if self._session is not None:
            await self._session.close()

    async def listen(self) -> None:
        """Accept connections, on the same port each time."""
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, shutdown_timeout=0.1, access_log=None, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def refuse_connections(self) -> None:
        """Close all connections and accept none, until `listen`."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # What was measured

    def clear(self) -> None:
        """Forget what came so far."""
        self.requests.clear()
        self.counts.clear()

    @property
    def refused_share(self) -> float:
        """The share of the requests that were refused; 0 without any."""
        return sum(request.refused for request in self.requests) / max(1, len(self.requests))

    @property
    def peak(self) -> int:
        """The most requests that came within one second."""
        recent: deque[float] = deque()
        most = 0
        for request in self.requests:
            recent.append(request.time)
            while recent[0] <= request.time - 1:
                recent.popleft()
            most = max(most, len(recent))
        return most

    # One request

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        decoded = msgspec.json.decode(body)
        is_batch = isinstance(decoded, list)
        calls: Calls = decoded if is_batch else [decoded]
        behaviour = self.behaviour
        answer = self._before(behaviour, body, calls, is_batch)
        budget, left = self._budget, len(calls)
        if answer is None and budget is not None:
            answer, left = self._rated(behaviour, budget, calls, is_batch)
        methods = tuple(call["method"] for call in calls)
        refused = answer is not None or left < len(calls) or self._is_cut(behaviour, calls)
        self.requests.append(Request(time.monotonic(), methods, refused))
        self.counts.update(methods)
        if answer is None:
            if behaviour.hang_share and self._random.random() < behaviour.hang_share:
                await asyncio.sleep(_HANGING)
            await asyncio.sleep(behaviour.latency)
            if behaviour.fail_share and self._random.random() < behaviour.fail_share:
                return self._response(request, BATCH_REFUSALS["502_html"](calls, 1))
            try:
                answer = await self._answered(behaviour, calls, is_batch, left)
            except aiohttp.ClientError:
                answer = BATCH_REFUSALS["502_html"](calls, 1)  # the target is gone, or stops
        return self._response(request, answer)

    @staticmethod
    def _response(request: web.Request, answer: Answer) -> web.Response:
        if answer.status is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(
            status=answer.status,
            body=answer.body,
            content_type=answer.content_type,
            headers=dict(answer.headers),
        )

    def _before(
        self, behaviour: Behaviour, body: bytes, calls: Calls, is_batch: bool
    ) -> Answer | None:
        """The answer to a request that is refused as a whole, whenever it comes."""
        if behaviour.down:
            return Answer(None)
        if behaviour.redirect_to:
            return Answer(behaviour.status or 308, headers={"Location": behaviour.redirect_to})
        if behaviour.status is not None:
            return Answer(behaviour.status, behaviour.body, behaviour.content_type)
        if behaviour.max_body is not None and len(body) > behaviour.max_body:
            return BATCH_REFUSALS["413"](calls, 1)
        limit, form = behaviour.max_batch, behaviour.batch_refusal
        if is_batch and limit is not None and len(calls) > limit and form in BATCH_REFUSALS:
            return BATCH_REFUSALS[form](calls, limit)
        return None

    def _rated(
        self, behaviour: Behaviour, budget: Budget, calls: Calls, is_batch: bool
    ) -> tuple[Answer | None, int]:
        """The answer to a request that comes too soon, and how many of its calls are answered."""
        wanted = len(calls) if behaviour.counts_calls else 1
        per_item = behaviour.rate_refusal == "per_item"
        if behaviour.counts_calls and not per_item:
            wanted = min(wanted, budget.burst)  # else a large batch is refused for ever
        taken = budget.take(wanted, time.monotonic())
        if taken == wanted:
            return None, len(calls)
        if per_item:
            return None, taken if behaviour.counts_calls else 0
        answer = RATE_REFUSALS[behaviour.rate_refusal](calls, is_batch)
        if behaviour.retry_after:
            answer = answer._replace(headers={"Retry-After": behaviour.retry_after})
        return answer, 0

    def _is_cut(self, behaviour: Behaviour, calls: Calls) -> bool:
        limit = behaviour.max_batch
        partial = behaviour.batch_refusal in PARTIAL_REFUSALS
        return partial and limit is not None and len(calls) > max(1, limit)

    # The answers

    async def _answered(
        self, behaviour: Behaviour, calls: Calls, is_batch: bool, left: int
    ) -> Answer:
        served, beyond = calls[:left], calls[left:]
        answers = await self._replies(behaviour, served)
        if not is_batch:
            status = self._status(behaviour, calls[0])
            return respond((answers or [failure(calls[0], PER_ITEM)])[0], status)
        answers += [failure(call, PER_ITEM) for call in beyond]
        if self._is_cut(behaviour, calls):
            limit = behaviour.max_batch or 0
            if behaviour.batch_refusal == "first_only":
                return respond(answers[0])
            rest = [failure(call, REST_REFUSED) for call in calls[limit:]]
            keep = behaviour.batch_refusal == "rest_refused"
            answers = answers[:limit] + (rest if keep else [])
        if behaviour.reversed_batch:
            answers.reverse()
        return respond(answers)

    @staticmethod
    def _status(behaviour: Behaviour, call: Mapping[str, Any]) -> int:
        if call["method"] in behaviour.refused_methods:
            return METHOD_REFUSALS[behaviour.method_refusal].status
        return 200

    async def _replies(self, behaviour: Behaviour, calls: Calls) -> list[Reply]:
        """The replies in the order of the calls: refusals, and what the target says."""
        if not calls:
            return []
        head = await self._head(behaviour)
        found: dict[int, Reply] = {}
        handed: list[tuple[int, dict[str, Any]]] = []
        for position, call in enumerate(calls):
            reply = self._own_reply(behaviour, call)
            if reply is None and call["method"] == "eth_sendRawTransaction":
                reply = await self._send(behaviour, call)
            if reply is None:
                handed.append((position, dict(call) if head is None else heads.seen_at(call, head)))
            else:
                found[position] = reply
        asked = [call for _, call in handed]
        for (position, _), reply in zip(handed, await self._ask(asked), strict=True):
            found[position] = reply
        replies = [found[position] for position in range(len(calls))]
        for call, reply in zip(calls, replies, strict=True):
            self._change(behaviour, head, call, reply)
        return replies

    async def _head(self, behaviour: Behaviour) -> int | None:
        """The newest block that is known; None: all are."""
        if behaviour.lagging_share and self._random.random() < behaviour.lagging_share:
            [reply] = await self._ask([_call("eth_blockNumber")])
            return max(0, int(reply["result"], 16) - behaviour.lag)
        return behaviour.frozen_at

    @staticmethod
    def _own_reply(behaviour: Behaviour, call: Mapping[str, Any]) -> Reply | None:
        method = call["method"]
        if method in behaviour.refused_methods:
            return failure(call, method_error(METHOD_REFUSALS[behaviour.method_refusal], method))
        if method in behaviour.refuses_pending and heads.asks_for(call, "pending"):
            error = PENDING_REFUSALS[behaviour.pending_refusal]
            return _result(call, None) if error is None else failure(call, error)
        if not behaviour.latest_is_null:
            return None
        if method == "eth_syncing":
            return _result(call, {"startingBlock": "0x0", "currentBlock": "0x1"})
        if method == "eth_getBlockByNumber" and call["params"][0] in heads.TAGS:
            return _result(call, None)
        return None

    async def _send(self, behaviour: Behaviour, call: Mapping[str, Any]) -> Reply:
        """Hand a transaction on, if the server takes it; one after the other, as a mempool does."""
        async with self._mempool:
            error = await transaction_error(behaviour, call["params"][0], self._ask)
            if error is not None:
                return failure(call, {"code": -32000, "message": error})
            if behaviour.loses_transactions:
                return _result(call, transaction_hash(call["params"][0]))
            [reply] = await self._ask([dict(call)])
            return reply

    @staticmethod
    def _change(
        behaviour: Behaviour, head: int | None, call: Mapping[str, Any], reply: Reply
    ) -> None:
        if "result" in reply:
            if head is not None:
                reply["result"] = heads.result_at(call["method"], reply["result"], head)
            if behaviour.numeric_chain_id and call["method"] == "eth_chainId":
                reply["result"] = int(reply["result"], 16)
        if behaviour.ids_as_text:
            reply["id"] = str(reply["id"])

    async def _ask(self, calls: list[dict[str, Any]]) -> list[Reply]:
        """The target's replies, in the order of the calls."""
        if not calls:
            return []
        assert self._session is not None
        headers = {"content-type": "application/json"}
        body = msgspec.json.encode(calls)
        async with self._session.post(self.target, data=body, headers=headers) as response:
            replies: list[Reply] = msgspec.json.decode(await response.read())
        by_id = {reply["id"]: reply for reply in replies}
        return [by_id[call["id"]] for call in calls]


def _call(method: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 0, "method": method, "params": []}


def _result(call: Mapping[str, Any], result: Any) -> Reply:
    return {"jsonrpc": "2.0", "id": call["id"], "result": result}
