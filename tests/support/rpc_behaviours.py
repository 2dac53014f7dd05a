"""How the JSON-RPC servers that people have behave, and the forms in which they refuse.

The forms are those of the servers named beside them; tests/support/rpc_proxy.py applies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

Calls = Sequence[Mapping[str, Any]]
"""The calls of one request, as they came."""
Error = dict[str, Any]
Reply = dict[str, Any]

HTML = "text/html"
JSON = "application/json"


class Answer(NamedTuple):
    """A whole HTTP response; without `status` the connection is closed instead."""

    status: int | None
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Behaviour:
    """What a server does; everything is off unless it is set. Times in seconds, money in wei."""

    # Requests with several calls
    max_batch: int | None = None
    """More calls than this in one request are refused."""
    batch_refusal: str = "413"
    """A name in BATCH_REFUSALS."""
    max_body: int | None = None
    """Bytes of a request; larger ones are refused with 413, as nginx does."""
    reversed_batch: bool = False
    """The answers to a batch come in another order, which JSON-RPC allows."""

    # How much
    requests_per_second: float | None = None
    burst: int | None = None
    """How many requests may come at once; None: those of one second."""
    counts_calls: bool = False
    """The limit is one of calls: each call of a batch counts."""
    rate_refusal: str = "429"
    """A name in RATE_REFUSALS."""
    retry_after: str = ""
    """The header of that name that comes with a refusal."""
    latency: float = 0.0
    hang_share: float = 0.0
    """The share of the requests that are never answered."""
    fail_share: float = 0.0
    """The share of the requests that are answered with status 502, as by a load balancer."""
    down: bool = False
    """Connections are closed without an answer."""

    # What is answered
    refuses_pending: frozenset[str] = frozenset()
    """The methods that refuse the tag "pending"."""
    pending_refusal: str = "unavailable"
    """A name in PENDING_REFUSALS."""
    refused_methods: frozenset[str] = frozenset()
    method_refusal: str = "whitelist"
    """A name in METHOD_REFUSALS."""
    frozen_at: int | None = None
    """The newest block that this server knows."""
    lagging_share: float = 0.0
    """The share of the requests that a machine answers which is `lag` blocks behind."""
    lag: int = 1
    latest_is_null: bool = False
    """"latest" has no block, as in a client that synchronizes."""
    numeric_chain_id: bool = False
    ids_as_text: bool = False
    status: int | None = None
    """All requests are answered with this status and `body`."""
    body: bytes = b""
    content_type: str = JSON
    redirect_to: str = ""
    """All requests are redirected (308, or `status`) to this URL."""

    # Transactions
    min_tip_wei: int = 0
    tip_refusal: str = "named"
    """A name in TIP_REFUSALS."""
    max_in_flight: int | None = None
    """How many transactions of one account may wait, as for accounts with code (EIP-7702)."""
    loses_transactions: bool = False
    """Transactions are accepted, and no other server gets them."""


def failure(call: Mapping[str, Any], error: Error) -> Reply:
    """A call's answer when it is an error."""
    return {"jsonrpc": "2.0", "id": call["id"], "error": error}


def respond(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A response in JSON."""
    return Answer(status, msgspec.json.encode(content), headers=headers or {})


# Refused batches


BatchRefusal = Callable[[Calls, int], Answer]
"""The response to too many calls; the number is how many are allowed."""


def _whole(code: int, message: str, status: int = 200) -> BatchRefusal:
    """One error, which is not in a list, for no call."""

    def refuse(calls: Calls, limit: int) -> Answer:
        text = message.format(limit=limit, size=len(calls))
        error = {"code": code, "message": text}
        return respond({"jsonrpc": "2.0", "id": None, "error": error}, status)

    return refuse


def _first(code: int, message: str, status: int = 200) -> BatchRefusal:
    """A list with one error, which has the identifier of the first call."""

    def refuse(calls: Calls, limit: int) -> Answer:
        return respond([failure(calls[0], {"code": code, "message": message})], status)

    return refuse


def _each(code: int, message: str, status: int = 200) -> BatchRefusal:
    """The same error for each call."""

    def refuse(calls: Calls, limit: int) -> Answer:
        error = {"code": code, "message": message}
        return respond([failure(call, error) for call in calls], status)

    return refuse


def _plain(status: int | None, body: str = "", content_type: str = HTML) -> BatchRefusal:
    def refuse(calls: Calls, limit: int) -> Answer:
        return Answer(status, body.encode(), content_type)

    return refuse


def _null_identifier(calls: Calls, limit: int) -> Answer:
    message = f"batch limit {limit} exceeded (can increase by --rpc.batch.limit)."
    return respond([{"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": message}}])


_FREE_PLAN = (
    "Batch of more than {limit} requests are not allowed on free tier, to use this feature register"
    " paid account at drpc.org"
)
_PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"

BATCH_REFUSALS: Mapping[str, BatchRefusal] = {
    # nginx: client_max_body_size
    "413": _plain(413, _PAGE.format("413 Request Entity Too Large")),
    # Erigon (issue 17245)
    "error_object": _whole(
        -32000,
        "batch limit {limit} exceeded (can increase by --rpc.batch.limit)."
        " Requested batch of size: {size}",
    ),
    # geth: rpc/handler.go, respondWithBatchTooLarge
    "list_of_one_error": _first(-32600, "batch too large"),
    # Erigon since pull request 18260
    "list_of_one_null_id": _null_identifier,
    # Erigon before it, over HTTP (issue 18074)
    "closed": _plain(None),
    # dRPC, 1RPC
    "500_with_body": _whole(31, _FREE_PLAN, 500),
    "500_list_of_one": _first(31, _FREE_PLAN.format(limit=3), 500),
    "500_per_item": _each(31, _FREE_PLAN.format(limit=3), 500),
    "per_item": _each(31, _FREE_PLAN.format(limit=3)),
    # Ronin
    "400_with_body": _whole(-32600, "batch of more than {limit} requests", 400),
    # Besu: EXCEEDS_RPC_MAX_BATCH_SIZE
    "besu": _whole(-32005, "Number of requests exceeds max batch size"),
    # Nethermind: its errors of the kind "limit exceeded" have status 503
    "503_with_body": _whole(-32005, "Batch size limit exceeded", 503),
    # reth, and all that use jsonrpsee
    "jsonrpsee": _whole(-32010, "The batch request was too large"),
    "jsonrpsee_off": _whole(-32005, "Batched requests are not supported by this server"),
    # Optimism's proxyd: ErrTooManyBatchRequests
    "proxyd": _whole(-32014, "too many RPC calls in batch request"),
    # NodeReal
    "limit_500": _whole(-32005, "batch size exceed limit {limit}"),
    # proxies that offer no such "method"
    "per_item_no_method": _each(-32601, "batch requests are not supported"),
    # servers that do not know batches
    "parse_error": _whole(-32700, "parse error", 400),
    "invalid_request": _whole(-32600, "Invalid Request"),
    "text": _plain(200, "Batch requests are not supported", "text/plain"),
    "400_html": _plain(400, _PAGE.format("400 Bad Request")),
    "403_html": _plain(403, _PAGE.format("403 Forbidden")),
    "422_empty": _plain(422),
    "500_html": _plain(500, _PAGE.format("500 Internal Server Error")),
    "502_html": _plain(502, _PAGE.format("502 Bad Gateway")),
    "empty_list": lambda calls, limit: respond([]),
    "null": lambda calls, limit: respond(None),
    "empty": _plain(200, "", JSON),
}
"""In addition the proxy knows "first_only" (only the first call is answered, outside a list),
"truncated" (the answers beyond the limit are missing) and "rest_refused" (they are errors)."""

PARTIAL_REFUSALS = ("first_only", "truncated", "rest_refused")
REST_REFUSED: Error = {"code": -32005, "message": "batch size limit exceeded"}


# Refused because of their rate


RateRefusal = Callable[[Calls, bool], Answer]
"""The response to one request too many; the flag: it is a list of calls."""


def _error_for_all(code: int, message: str, status: int, data: Any = None) -> RateRefusal:
    """One error: in a single call's answer, or outside of a list."""

    def refuse(calls: Calls, is_batch: bool) -> Answer:
        error: Error = {"code": code, "message": message}
        if data is not None:
            error["data"] = data
        identifier = None if is_batch else calls[0]["id"]
        return respond({"jsonrpc": "2.0", "id": identifier, "error": error}, status)

    return refuse


def _error_for_each(code: int, message: str, status: int) -> RateRefusal:
    def refuse(calls: Calls, is_batch: bool) -> Answer:
        error = {"code": code, "message": message}
        answers = [failure(call, error) for call in calls]
        return respond(answers if is_batch else answers[0], status)

    return refuse


def _page(status: int | None, body: str = "", content_type: str = HTML) -> RateRefusal:
    def refuse(calls: Calls, is_batch: bool) -> Answer:
        return Answer(status, body.encode(), content_type)

    return refuse


_ALCHEMY = (
    "Your app has exceeded its compute units per second capacity. If you have retries enabled, you"
    " can safely ignore this message."
)
PER_ITEM: Error = {"code": 429, "message": _ALCHEMY}

RATE_REFUSALS: Mapping[str, RateRefusal] = {
    "429": _page(429),
    # nginx: limit_req, whose own status is 503
    "503_html": _page(503, _PAGE.format("503 Service Temporarily Unavailable")),
    "429_html": _page(429, _PAGE.format("429 Too Many Requests")),
    # Cloudflare
    "429_text": _page(429, "error code: 1015", "text/plain"),
    "alchemy": _error_for_all(429, _ALCHEMY, 429),
    "infura": _error_for_all(
        -32005,
        "project ID request rate exceeded",
        429,
        {"rate": {"allowed_rps": 1, "backoff_seconds": 1, "current_rps": 2}},
    ),
    "quicknode": _error_for_all(
        -32007,
        "15/second request limit reached - reduce calls per second or upgrade your account at"
        " quicknode.com",
        429,
    ),
    "ankr": _error_for_all(
        -32090, "Too many requests, reason: call rate limit exhausted, retry in 1s", 429
    ),
    "drpc": _error_for_all(15, "Too many request, try again later", 429),
    # Optimism's proxyd: ErrOverRateLimit, ErrBackendOverCapacity
    "proxyd": _error_for_each(-32016, "over rate limit", 429),
    "over_capacity": _error_for_each(-32012, "backend is over capacity", 429),
    # Nethermind, Erigon
    "503_with_body": _error_for_all(-32005, "Too many requests", 503),
    "overloaded": _error_for_all(-32005, "server overloaded", 503),
    "200_error": _error_for_all(-32005, "rate limit exceeded", 200),
    "200_list": _error_for_each(-32005, "limit exceeded", 200),
    # Infura, when a day's are used up
    "402": _error_for_all(402, "Payment Required", 402),
    # Chainstack
    "403_with_body": _error_for_all(
        -32005, "You've exceeded the RPS limit available on the current plan.", 403
    ),
    "closed": _page(None),
}
"""In addition the proxy knows "per_item": what is left is answered, the rest is an error each, as
Alchemy does; where the limit counts requests, no call is left of a refused one."""


# Refused calls


PENDING_REFUSALS: Mapping[str, Error | None] = {
    # geth without a miner's state, and bor
    "unavailable": {"code": -32000, "message": "pending block is not available"},
    "not_found": {"code": -32000, "message": "pending block not found"},
    # Avalanche's coreth
    "unfinalized": {"code": -32000, "message": "cannot query unfinalized data"},
    "unsupported": {"code": -32602, "message": "pending is not a supported commitment level"},
    "invalid": {"code": -32602, "message": "invalid argument 1: hex string without 0x prefix"},
    "unknown_block": {"code": -32000, "message": "Unknown block"},
    "internal": {"code": -32603, "message": "Internal error"},
    # the result is null
    "null": None,
}


class MethodRefusal(NamedTuple):
    """The error for a method that a server does not offer, and the status when it is alone."""

    code: int
    message: str
    status: int = 200


METHOD_REFUSALS: Mapping[str, MethodRefusal] = {
    # Optimism's proxyd: ErrMethodNotWhitelisted
    "whitelist": MethodRefusal(-32601, "rpc method is not whitelisted", 403),
    "whitelist_200": MethodRefusal(-32601, "rpc method is not whitelisted"),
    # geth
    "not_available": MethodRefusal(-32601, "the method {method} does not exist/is not available"),
    # Besu
    "not_enabled": MethodRefusal(-32604, "Method not enabled"),
    # NodeReal
    "unsupported": MethodRefusal(-32004, "method {method} does not support"),
    # QuickNode
    "plan": MethodRefusal(-32601, "The method {method} is not included in your current plan"),
    # Alchemy
    "unsupported_400": MethodRefusal(-32600, "Unsupported method: {method}", 400),
}


def method_error(refusal: MethodRefusal, method: str) -> Error:
    """The error of a refusal."""
    return {"code": refusal.code, "message": refusal.message.format(method=method)}


# Refused transactions


TIP_REFUSALS: Mapping[str, str] = {
    # geth: core/txpool/validation.go; Polygon's and BNB chain's floor
    "named": "transaction underpriced: gas tip cap {tip}, minimum needed {floor}",
    # geth since 1.15
    "renamed": "transaction gas price below minimum: gas tip cap {tip}, minimum needed {floor}",
    "unnamed": "transaction underpriced",
    # Nethermind, Erigon
    "fee_too_low": "FeeTooLow, MaxFeePerGas too low.",
    "underpriced": "underpriced",
}
# geth: core/txpool/errors.go
IN_FLIGHT_LIMIT = "in-flight transaction limit reached for delegated accounts"
GAPPED_NONCE = "gapped-nonce tx from delegated accounts"


# A limit of a rate


@dataclass
class Budget:
    """A limit of so many per second; up to `burst` at once."""

    rate: float
    burst: int
    _left: float = field(init=False)
    _at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, wanted: int, now: float) -> int:
        """How many of them are within the limit at that moment; they are used up."""
        if self._at > -math.inf:
            self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        taken = min(wanted, math.floor(self._left + 1e-9))
        self._left -= taken
        return taken
