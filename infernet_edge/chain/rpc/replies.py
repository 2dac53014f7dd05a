"""What the reply to a request says about each of its calls.

The format is that of jsonrpc.org/specification (2.0). Servers refuse requests in many forms, so the
structure of a reply decides first (its status, which calls are answered, codes), and words last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from infernet_edge.chain.rpc.errors import Call, Cause, EndpointFailure, RpcError

_MAX_RETRY_AFTER = 120.0  # seconds; what a server may ask for, in a header or in words
_MAX_MESSAGE = 500  # characters of a server's message that are kept
_THROTTLED_CODES = (429, -32097)
_LIMIT_CODE = -32005  # "limit exceeded": of a rate, the calls in a request, or a range of blocks
_OWN_CODES = (3, -32601, -32602)  # they are about the call itself
_THROTTLED_STATUSES = (429, 402)  # the latter when the requests of a day are used up
_OF_SERVERS = (401, 403, 502, 503, 504)  # statuses that are about the server, not about a call
_THROTTLED = re.compile(
    r"rate.?limit|too many requests?|request rate|over (the )?rate|throttl|slow down|\bquota\b|"
    r"(requests?|calls|credits|units|rps|queries|throughput).{0,60}(limit|exceed|exhaust|capacity)|"
    r"(limit|exceed\w*|exhaust\w*).{0,60}(requests|calls|credits|\brps\b|throughput|capacity)|"
    r"over.?capacity|over.?load|(per|/) ?(s|sec|second|minute|hour|day)\b|"
    r"(retry|again) (in|after) \d|(daily|monthly|hourly).{0,20}limit",
    re.I,
)
_PAUSE = re.compile(r"(?:retry|again) (?:in|after) (\d{1,6}(?:\.\d{1,3})?) ?(ms|s\b|sec)", re.I)
_OF_BATCHES = re.compile(r"\bbatch", re.I)
_OF_RANGES = re.compile(r"\b(blocks?|range|results?|logs?|response)\b", re.I)


class Unanswered(NamedTuple):
    """A call without an answer; it may be made again.

    `error` is what came for it, if that may be the answer to the call nevertheless. `pause`: the
    seconds that the server asks to wait.
    """

    cause: Cause
    reason: str
    error: RpcError | None = None
    pause: float = 0.0


class _Failure(Struct):
    code: Any = 0
    message: Any = ""
    data: Any = None


class _Reply(Struct):
    id: Any = None
    result: Any | UnsetType = UNSET
    error: _Failure | None = None


class Response(NamedTuple):
    """An HTTP response; `reason` is the text of its status."""

    status: int
    reason: str
    retry_after: str
    body: bytes


_decoder = msgspec.json.Decoder(list[_Reply] | _Reply)


def read_answers(
    response: Response, calls: Sequence[Call], identifiers: Sequence[int]
) -> list[Any | RpcError | Unanswered]:
    """The answer to each call, in their order.

    Raises EndpointFailure when nothing is answered and the reply is about the request as a whole.
    """
    pause = retry_after(response.retry_after)
    replies, is_list = _decode(response, pause)
    if not is_list and len(calls) > 1:
        replies = _for_whole(replies[0], response, identifiers, pause)
    by_identifier = {_identifier(reply): reply for reply in replies}
    if len(calls) == 1 and len(replies) == 1 and replies[0].id is None:
        by_identifier = {identifiers[0]: replies[0]}
    if not any(identifier in by_identifier for identifier in identifiers):
        _refuse_all(replies, response, pause, len(calls))
    complete = all(identifier in by_identifier for identifier in identifiers)
    answers = [
        _answer(by_identifier.get(identifier), call, response, len(calls), complete=complete)
        for call, identifier in zip(calls, identifiers, strict=True)
    ]
    missing = [each for each in answers if isinstance(each, Unanswered) and each.error is None]
    if len(missing) == len(calls):
        first = missing[0]
        raise EndpointFailure(first.reason, first.cause, pause or first.pause)
    return answers


def _decode(response: Response, pause: float) -> tuple[list[_Reply], bool]:
    """The objects of a reply, and whether they come as a list."""
    try:
        decoded = _decoder.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _status_failure(response, pause) from None
    replies = decoded if isinstance(decoded, list) else [decoded]
    is_empty = all(reply.result is UNSET and reply.error is None for reply in replies)
    if is_empty and response.status >= 300:
        raise _status_failure(response, pause)
    return replies, isinstance(decoded, list)


def _status_failure(response: Response, pause: float) -> EndpointFailure:
    """The failure of a request whose reply is not JSON-RPC."""
    status = response.status
    named = f"status {status} {response.reason}".strip()
    if status in _THROTTLED_STATUSES or (status >= 500 and pause > 0):
        return EndpointFailure(named, Cause.RATE, pause)
    if status == 413:
        return EndpointFailure("status 413: requests are too large for it", Cause.SIZE)
    if status >= 500:
        return EndpointFailure(named)
    hint = "; is the key in chain.rpc_url right?" if status in (401, 403) else ""
    return EndpointFailure(f"status {status} and something that is not JSON-RPC{hint}")


def _for_whole(
    reply: _Reply, response: Response, identifiers: Sequence[int], pause: float
) -> list[_Reply]:
    """The only object that comes for several calls: the answer to one of them, or a refusal."""
    if reply.error is None and reply.result is not UNSET and _identifier(reply) in identifiers:
        return [reply]
    if reply.error is None:
        raise EndpointFailure("one answer to several calls")
    _refuse_all([reply], response, pause, len(identifiers))
    return []


def _refuse_all(replies: list[_Reply], response: Response, pause: float, count: int) -> None:
    """Raise the failure of a request, no call of which is answered."""
    error = next((reply.error for reply in replies if reply.error is not None), None)
    if error is None:
        raise EndpointFailure("an answer to something else" if replies else "an empty answer")
    cause = _cause(error, response, "", count) or Cause.UNCLEAR
    reason = _words(error)
    if cause is Cause.RATE:
        reason = f"too many requests ({reason})"
        pause = pause or _named_pause(error)
    elif response.status in _OF_SERVERS:
        reason = _named_status(response, reason)
    elif count > 1:
        reason = f"no answer to a batch ({reason})"
    limit = _named_limit(error, count) if cause is Cause.SIZE else 0
    raise EndpointFailure(reason, cause, pause, limit)


def _answer(
    reply: _Reply | None, call: Call, response: Response, count: int, *, complete: bool
) -> Any | RpcError | Unanswered:
    if reply is None:
        return Unanswered(Cause.SIZE, "an answer is missing")
    if reply.error is None:
        if reply.result is UNSET:
            return Unanswered(Cause.UNCLEAR, "an answer without a result")
        return reply.result
    error = _error(reply.error)
    cause = _cause(reply.error, response, call[0], count)
    if cause is Cause.RATE:
        pause = _named_pause(reply.error)
        return Unanswered(cause, f"too many requests ({error.message})", pause=pause)
    if cause is not None:
        return Unanswered(cause, error.message)
    if count == 1:
        own = error.is_revert or error.lacks_method or error.lacks_state
        if response.status in _OF_SERVERS and not own:
            return Unanswered(Cause.UNCLEAR, _named_status(response, error.message))
        return error
    if error.is_revert or reply.error.code in _OWN_CODES:
        return error
    # It may be about the whole request: some servers repeat that error for each call, or give it
    # to the first one alone.
    return Unanswered(Cause.UNCLEAR, error.message, error if complete else None)


def _cause(failure: _Failure, response: Response, method: str, count: int) -> Cause | None:
    """What an error says about the request; None when it is the answer to its call."""
    error = _error(failure)
    words = error.message
    if count > 1 and not error.is_revert and _OF_BATCHES.search(words):
        return Cause.SIZE
    if error.is_revert or failure.code in _OWN_CODES:
        return Cause.RATE if response.status == 429 else None
    if response.status in _THROTTLED_STATUSES or failure.code in _THROTTLED_CODES:
        return Cause.RATE
    throttled = failure.code == _LIMIT_CODE or _THROTTLED.search(words) is not None
    if throttled and method == "eth_getLogs" and _OF_RANGES.search(words):
        return None
    return Cause.RATE if throttled else None


def _named_status(response: Response, words: str) -> str:
    hint = "; is the key in chain.rpc_url right?" if response.status in (401, 403) else ""
    return f"status {response.status} ({words}){hint}"


def _identifier(reply: _Reply) -> Any:
    """A reply's identifier; some servers return it as a text."""
    identifier = reply.id
    if isinstance(identifier, str) and identifier.isdecimal() and len(identifier) < 20:
        return int(identifier)
    return identifier if isinstance(identifier, int) else None


def _error(failure: _Failure) -> RpcError:
    code = failure.code if isinstance(failure.code, int) else 0
    data = failure.data
    if isinstance(data, dict):  # some wrap it
        data = data.get("data") or data.get("result")
    found = re.fullmatch(r"(?:Reverted )?0x((?:[0-9a-fA-F]{2})*)", str(data))
    return RpcError(code, _words(failure), bytes.fromhex(found[1]) if found else b"")


def _words(failure: _Failure) -> str:
    return str(failure.message or "an error without words")[:_MAX_MESSAGE]


def _named_limit(failure: _Failure, count: int) -> int:
    """The number of calls that an error names as the limit, beside the one that came; 0: none."""
    numbers = (int(number) for number in re.findall(r"\b\d{1,4}\b", _words(failure)))
    return max((number for number in numbers if number < count), default=0)


def _named_pause(failure: _Failure) -> float:
    """The seconds that an error asks to wait: in its data, as Infura does, or in its text."""
    data = failure.data
    rate = data.get("rate") if isinstance(data, dict) else None
    seconds = rate.get("backoff_seconds") if isinstance(rate, dict) else None
    if isinstance(seconds, int | float) and seconds > 0:
        return min(float(seconds), _MAX_RETRY_AFTER)
    if (found := _PAUSE.search(_words(failure))) is None:
        return 0.0
    return min(float(found[1]) / (1000 if found[2] == "ms" else 1), _MAX_RETRY_AFTER)


def retry_after(text: str) -> float:
    """Seconds of a Retry-After header, two minutes at most.

    It may also be a date (RFC 9110, 10.2.3), and some servers give parts of seconds.
    """
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
        return min(float(text), _MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _MAX_RETRY_AFTER)
