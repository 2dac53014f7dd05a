"""GET and POST /api/tokens, DELETE /api/tokens/{name}; GET /api/me says what a caller may do."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.access.permissions import Permission
from infernet_edge.api.access.token_checks import check_name
from infernet_edge.api.access.tokens import Tokens, client_of
from infernet_edge.api.endpoints.job import MAX_PARAMETERS, flag
from infernet_edge.api.json_io import Answer, BodyReader, check_utf8, decode, query
from infernet_edge.config.values.dates import DATE_FORMS, PERIOD_FORMS, parse_date, parse_period
from infernet_edge.errors import BadRequest, Conflict
from infernet_edge.jobs.reading.history import History
from infernet_edge.schema import (
    CallerInfo,
    NewToken,
    RevokedToken,
    TokenInfo,
    TokenList,
    TokenRequest,
)

MAX_BODY_BYTES: Final = 4 * 2**10  # bytes: a name, a scope and a date
_decoder = msgspec.json.Decoder(TokenRequest)


class TokensEndpoint:
    """Lists and makes tokens."""

    methods = ("GET", "HEAD", "POST")
    permissions: Final = dict.fromkeys(methods, Permission.OPERATE)

    def __init__(self, tokens: Tokens, history: History, bodies: BodyReader) -> None:
        self._tokens = tokens
        self._history = history
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await Answer(listed(self._tokens))(scope, receive, send)
            return
        body = await self._bodies.read(scope, receive, MAX_BODY_BYTES)
        check_utf8(body)
        request = decode(body, _decoder)
        check_name(request.name)
        if not request.keep_jobs and await self._history.has_any(client_of(request.name)):
            raise Conflict(old_jobs_text(request.name), {"name": request.name})
        await Answer(await made(self._tokens, request))(scope, receive, send)


class TokenEndpoint:
    """Revokes a token; one of the configuration is removed there."""

    methods = ("DELETE",)
    permissions: Final = {"DELETE": Permission.OPERATE}

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        may_open = flag(query(scope, MAX_PARAMETERS), "open")
        name: str = scope["path_params"]["name"]
        await Answer(await revoked(self._tokens, name, may_open=may_open))(scope, receive, send)


class MeEndpoint:
    """Answers every caller that is admitted."""

    methods = ("GET", "HEAD")
    permissions: Final = dict.fromkeys(methods, Permission(0))

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["caller"]
        grant = caller.grant
        name, expires_at = (None, None) if grant is None else (grant.name, grant.expires_at)
        info = CallerInfo(caller.client, name, caller.scope, expires_at, self._tokens.is_open)
        await Answer(info)(scope, receive, send)


def listed(tokens: Tokens) -> TokenList:
    """All tokens that are not revoked."""
    found = [
        TokenInfo(
            grant.name,
            grant.scope,
            grant.created_at,
            grant.expires_at,
            grant.last_used_at,
            grant.is_valid(),
        )
        for grant in tokens.grants
    ]
    return TokenList(found, tokens.is_open, tokens.problems)


async def made(tokens: Tokens, request: TokenRequest) -> NewToken:
    """Make a token; raises as Tokens.create does."""
    expires_at = expiry(request.expires, tokens.date) if request.expires else None
    was_open = tokens.is_open
    text, grant = await tokens.create(
        request.name, request.scope, expires_at, replace_damaged=request.replace_damaged
    )
    created_at = grant.created_at or 0
    return NewToken(grant.name, grant.scope, created_at, expires_at, text, closed_node=was_open)


async def revoked(tokens: Tokens, name: str, *, may_open: bool) -> RevokedToken:
    """Revoke a token; raises as Tokens.revoke does."""
    grant = await tokens.revoke(name, may_open=may_open)
    return RevokedToken(name, grant.revoked_at or 0, open=tokens.is_open)


def expiry(text: str, now: int) -> int:
    """When a token expires, in milliseconds since 1970; raises BadRequest."""
    if (period := parse_period(text)) is not None:
        return now + period
    if (date := parse_date(text)) is not None:
        return date
    raise BadRequest(f"expires: expected {DATE_FORMS}, or {PERIOD_FORMS}", {"field": "expires"})


def old_jobs_text(name: str) -> str:
    """Why a name cannot be used again."""
    return (
        f"The node still has jobs of an earlier token {name}, which a new one of this name could"
        " read. Choose another name; or, if it is for the same person, say so: --keep-jobs"
        " (keep_jobs in the API)"
    )
