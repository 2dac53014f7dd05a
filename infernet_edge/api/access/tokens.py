"""The tokens of a node: those of the configuration, and those that `token new` made.

While there is any, also an expired one, a caller needs one. Without any, the node is open: everyone
who reaches it may submit jobs. It is never opened by an error: with a file of tokens that cannot be
read, callers need a token of the configuration.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import logging
import time
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from infernet_edge.api.access.permissions import SCOPES, Permission
from infernet_edge.api.access.token_checks import (
    check_expiry,
    check_name,
    check_new,
    check_revocable,
    damage_text,
    refusal,
)
from infernet_edge.clock import iso_time
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.dates import parse_date
from infernet_edge.config.values.tokens import Token, secret_of
from infernet_edge.errors import Conflict, Unauthenticated, Unavailable
from infernet_edge.logs import log_event, log_exception
from infernet_edge.schema import TokenScope
from infernet_edge.storage.dates import Dates
from infernet_edge.storage.token_file import (
    DamagedTokens,
    MadeToken,
    StoredTokens,
    TokenFile,
    hash_of,
    new_token,
)
from infernet_edge.tasks import TaskSet

logger = logging.getLogger(__name__)

_USE_PERIOD = 3600.0  # seconds between two writes of when tokens were last used
_SAVING_TIME = 10.0  # seconds that the stop of the node waits for the last of these writes


class Grant(Struct, eq=False):
    """What a token permits while the node runs; times in milliseconds since 1970."""

    name: str
    scope: TokenScope
    hash: bytes
    """The SHA-256 of the token, in hex digits."""
    expires_at: int | None
    created_at: int | None = None
    """None for a token of the configuration."""
    last_used_at: int | None = None
    revoked_at: int | None = None
    is_valid: Callable[[], bool] = bool
    """Whether it is accepted now."""
    is_over: bool = False
    """It was found expired; the date of that is stored."""

    @property
    def client(self) -> str:
        """The owner of the jobs of its holder."""
        return client_of(self.name)

    @property
    def permissions(self) -> Permission:
        return SCOPES[self.scope]

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes it another one when it changes."""
        return self.name, self.hash, self.scope, self.expires_at

    @property
    def is_configured(self) -> bool:
        """Whether it is one of `server.tokens`."""
        return self.created_at is None


def client_of(name: str) -> str:
    """The owner of the jobs that are submitted with the token of this name."""
    return f"token:{name}"


class Tokens:
    """All tokens of a node; only `load`, `configure`, `create` and `revoke` change them."""

    def __init__(
        self, configured: Mapping[str, Secret | Token], file: TokenFile, dates: Dates
    ) -> None:
        self._file = file
        self._dates = dates
        self._configured = [self._of_configuration(*item) for item in configured.items()]
        self._made: dict[str, Grant] = {}
        self._revoked: dict[bytes, Grant] = {}
        self._stored = StoredTokens()
        self._changing = asyncio.Lock()
        self._saving = TaskSet(_log_failure)
        self._uses_saved = -_USE_PERIOD  # monotonic time
        self._damage = ""  # why the file cannot be read; "" when it was read

    async def load(self) -> None:
        """Read the file; a damaged one is reported, and all tokens in it are refused.

        To be called after the node's own time was loaded, or to read the file again.
        """
        async with self._changing:
            await self._load()

    async def _load(self) -> None:
        try:
            stored = await asyncio.to_thread(self._file.read)
        except DamagedTokens as error:
            self._damage = str(error)
            self._adopt(StoredTokens())
            log_event(
                logger, "tokens.damaged", logging.ERROR, path=self._file.path, reason=self._damage
            )
            return
        self._damage = ""
        self._dates.load(stored.anchor)
        self._adopt(stored)
        if stored.anchor is None and any(grant.expires_at is not None for grant in self.grants):
            await self._save_anchor()

    def _adopt(self, stored: StoredTokens) -> None:
        """Make what is stored effective; grants that are known already stay the same objects."""
        known = {grant.hash: grant for grant in (*self._made.values(), *self._revoked.values())}
        grants = [known.get(token.hash.encode()) or self._of_file(token) for token in stored.tokens]
        for grant, token in zip(grants, stored.tokens, strict=True):
            grant.revoked_at = token.revoked_at
        for grant in known.values():
            if grant not in grants:
                grant.revoked_at = grant.revoked_at or self._dates.now()
        self._stored = stored
        self._made = {grant.name: grant for grant in grants if grant.revoked_at is None}
        self._revoked = {grant.hash: grant for grant in grants if grant.revoked_at is not None}

    def configure(self, configured: Mapping[str, Secret | Token]) -> None:
        """Replace the tokens of the configuration; those that are the same stay valid."""
        known = {each.identity: each for each in self._configured}
        made = [self._of_configuration(*item) for item in configured.items()]
        self._configured = [known.get(each.identity, each) for each in made]

    def _of_configuration(self, name: str, token: Secret | Token) -> Grant:
        digest = hash_of(secret_of(token).reveal().encode()).encode()
        if isinstance(token, Secret):
            return self._checked(Grant(name, "submit", digest, None))
        return self._checked(Grant(name, token.scope, digest, parse_date(token.expires)))

    def _of_file(self, token: MadeToken) -> Grant:
        grant = Grant(
            token.name,
            token.scope,
            token.hash.encode(),
            token.expires_at,
            token.created_at,
            token.last_used_at,
            token.revoked_at,
        )
        return self._checked(grant)

    def _checked(self, grant: Grant) -> Grant:
        grant.is_valid = functools.partial(self._is_valid, grant)
        return grant

    @property
    def grants(self) -> list[Grant]:
        """All that are not revoked: those of the configuration, then the made ones."""
        return [*self._configured, *self._made.values()]

    @property
    def is_open(self) -> bool:
        """Whether there is no token, so that everyone may submit jobs."""
        return not (self._configured or self._made or self._damage)

    def is_still_open(self) -> bool:
        """The same, as a function."""
        return self.is_open

    @property
    def date(self) -> int:
        """Now, as it decides about expiry, in milliseconds since 1970."""
        return self._dates.now()

    @property
    def problems(self) -> list[str]:
        """What a person has to correct, for the status."""
        found = [damage_text(self._file.path, self._damage)] if self._damage else []
        if any(grant.expires_at is not None for grant in self.grants) and self._dates.flaw:
            found.append(f"Tokens may expire too late: {self._dates.flaw}. Set it")
        return found + [
            f"The token {name} was made, and is in server.tokens too: that of server.tokens is"
            f" used, the made one is refused; revoke it: infernet-edge token revoke {name}"
            for name in self._made
            if any(grant.name == name for grant in self._configured)
        ]

    def find(self, token: bytes) -> Grant:
        """The grant of a token, which is noted as used; raises Unauthenticated, with a reason.

        All are compared, each in constant time, so that the time says nothing about them.
        """
        given = hash_of(token).encode()
        found: Grant | None = None
        for grant in self.grants:
            if hmac.compare_digest(grant.hash, given) and found is None:
                found = grant
        found = found or self._revoked.get(given)
        if found is None:
            raise self._unknown()
        if not found.is_valid():
            self._note_expiry(found)
            raise self._over(found)
        found.last_used_at = self._dates.now()
        if time.monotonic() - self._uses_saved >= _USE_PERIOD and not found.is_configured:
            self._uses_saved = time.monotonic()
            self._saving.start(self._save_uses())
        return found

    def _note_expiry(self, grant: Grant) -> None:
        """Store the date, once: after a restart with a wrong clock, the token is expired too."""
        if grant.expires_at is not None and grant.revoked_at is None and not grant.is_over:
            grant.is_over = True
            self._saving.start(self._save_uses())

    def _is_valid(self, grant: Grant) -> bool:
        if grant.revoked_at is not None or self._is_replaced(grant):
            return False
        if grant.is_configured and grant not in self._configured:
            return False
        return grant.expires_at is None or self._dates.now() < grant.expires_at

    def _is_replaced(self, grant: Grant) -> bool:
        """Whether the configuration has another token of its name."""
        named = (each.name == grant.name for each in self._configured)
        return not grant.is_configured and any(named)

    def _unknown(self) -> Unauthenticated:
        if self._damage:
            return refusal(
                "This token is not known: the node cannot read the file of its tokens, see"
                " infernet-edge status",
                reason="unknown",
            )
        return refusal(
            "This token is not known: it is mistyped, incomplete, or of another node",
            reason="unknown",
        )

    def _over(self, grant: Grant) -> Unauthenticated:
        again = "ask the operator of the node for a new one"
        if grant.revoked_at is not None:
            day = iso_time(grant.revoked_at)[:10]
            return refusal(f"This token was revoked on {day}; {again}", "revoked", grant.name)
        if self._is_replaced(grant):
            text = f"This token was replaced by one of server.tokens; {again}"
            return refusal(text, "replaced", grant.name)
        moment = iso_time(grant.expires_at or 0)[:16].replace("T", " ")
        return refusal(f"This token expired on {moment} UTC; {again}", "expired", grant.name)

    async def create(
        self, name: str, scope: TokenScope, expires_at: int | None, *, replace_damaged: bool = False
    ) -> tuple[str, Grant]:
        """Make a token; when this returns, it is stored and accepted.

        Returns the token itself, which is nowhere else, and its grant. `replace_damaged`: keep a
        damaged file under another name and begin a new one. Raises BadRequest, Conflict,
        Unavailable.
        """
        check_name(name)
        async with self._changing:
            await self._check_file(replace_damaged=replace_damaged)
            check_new(name, self.grants)
            now = self._dates.now()
            check_expiry(expires_at, now, self._dates.flaw)
            text = new_token()
            made = MadeToken(name, scope, hash_of(text.encode()), now, expires_at)
            was_open = self.is_open
            await self._write([*self._with_uses(), made])
        grant = self._made[name]
        log_event(
            logger,
            "token.created",
            token=name,
            scope=scope,
            expires="" if expires_at is None else iso_time(expires_at),
            closes_node=was_open or None,
        )
        return text, grant

    async def revoke(self, name: str, *, may_open: bool = False) -> Grant:
        """Revoke a made token; when this returns, it is refused. `may_open`: also the last one.

        Raises NotFound, Conflict, Unavailable.
        """
        async with self._changing:
            await self._check_file()
            check_revocable(name, self.grants, may_open=may_open)
            now = self._dates.now()
            changed = [
                msgspec.structs.replace(token, revoked_at=now)
                if token.name == name and token.revoked_at is None
                else token
                for token in self._with_uses()
            ]
            grant = self._made[name]
            # The newest last: the oldest ones are forgotten first.
            await self._write(sorted(changed, key=lambda token: token.revoked_at or 0))
        log_event(logger, "token.revoked", token=name, opens_node=self.is_open or None)
        return grant

    async def close(self) -> None:
        """Store when tokens were last used; for the stop of the node."""
        await self._saving.wait(_SAVING_TIME)
        await self._saving.stop()
        if self._with_uses() != self._stored.tokens:
            await self._save_uses()

    async def _check_file(self, *, replace_damaged: bool = False) -> None:
        """Read a damaged file again: it may have been restored. Raises Conflict if it was not."""
        if self._damage:
            await self._load()
        if not self._damage:
            return
        if not replace_damaged:
            raise Conflict(damage_text(self._file.path, self._damage))
        try:
            kept = await asyncio.to_thread(self._file.keep_damaged, self._dates.now())
        except OSError as error:
            raise self._cannot_store(error) from error
        log_event(logger, "tokens.replaced", logging.WARNING, kept=kept)

    def _with_uses(self) -> list[MadeToken]:
        """What is to be stored, with the times of the last uses."""
        used = {grant.hash: grant.last_used_at for grant in self._made.values()}
        return [
            msgspec.structs.replace(
                token, last_used_at=used.get(token.hash.encode(), token.last_used_at)
            )
            for token in self._stored.tokens
        ]

    async def _write(self, tokens: list[MadeToken]) -> None:
        """Store tokens, and then make them effective; raises Unavailable."""
        stored = StoredTokens(tokens, self._dates.anchor())
        try:
            await asyncio.to_thread(self._file.write, stored)
        except OSError as error:
            raise self._cannot_store(error) from error
        self._damage = ""
        self._adopt(stored)

    def _cannot_store(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"{self._file.path} cannot be written ({error.strerror}): check the disk"
        )

    async def _save_uses(self) -> None:
        async with self._changing:
            await self._save_anchor()

    async def _save_anchor(self) -> None:
        """Store the date and the last uses; an error is logged: the tokens stay valid."""
        if self._damage:
            return
        try:
            await self._write(self._with_uses())
        except Unavailable as error:
            log_event(logger, "tokens.save_failed", logging.WARNING, reason=error)


def _log_failure(error: BaseException) -> None:
    log_exception(logger, "tokens.save_failed", error)
