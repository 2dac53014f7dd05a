"""The tokens of a node for `infernet-edge token`: those of a running one, or its file.

All answers are those of the API, as decoded JSON. All raise InfernetEdgeError.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Coroutine, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from infernet_edge.api.access.token_checks import check_name
from infernet_edge.api.access.tokens import Tokens, client_of
from infernet_edge.api.endpoints.tokens import listed, made, old_jobs_text, revoked
from infernet_edge.config.model import Config
from infernet_edge.control.client import NoNode, call
from infernet_edge.doctor.offline_database import InUse, open_offline
from infernet_edge.errors import ApiError, Conflict, InfernetEdgeError
from infernet_edge.jobs.reading.history import has_any
from infernet_edge.schema import TokenRequest
from infernet_edge.storage.dates import Dates
from infernet_edge.storage.lock import FolderLock
from infernet_edge.storage.token_file import TokenFile


class LastToken(InfernetEdgeError):
    """Revoking this token would open the node."""


class RunningNode:
    """The tokens of a running node, which applies a change at once."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def list(self) -> Any:
        """All tokens, as a TokenList."""
        return call(self._config, "GET", "/api/tokens")

    def make(self, request: TokenRequest) -> Any:
        """Make a token; returns a NewToken."""
        return call(self._config, "POST", "/api/tokens", msgspec.to_builtins(request))

    def revoke(self, name: str, *, may_open: bool) -> Any:
        """Revoke a token; returns a RevokedToken. Raises LastToken."""
        query = "?open=true" if may_open else ""
        with _last_token_recognized():
            return call(self._config, "DELETE", f"/api/tokens/{quote(name, safe='')}{query}")


class StoppedNode:
    """The file of a node that does not run; its folder is locked while the file is changed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._tokens = Tokens(
            config.server.tokens, TokenFile(config.storage_path), Dates(elapsed=None)
        )

    def list(self) -> Any:
        """All tokens, as a TokenList."""
        asyncio.run(self._tokens.load())
        return msgspec.to_builtins(listed(self._tokens))

    def make(self, request: TokenRequest) -> Any:
        """Make a token; returns a NewToken."""
        check_name(request.name)
        if not request.keep_jobs and self._has_jobs(client_of(request.name)):
            raise Conflict(old_jobs_text(request.name))
        return self._change(made(self._tokens, request))

    def revoke(self, name: str, *, may_open: bool) -> Any:
        """Revoke a token; returns a RevokedToken. Raises LastToken."""
        with _last_token_recognized():
            return self._change(revoked(self._tokens, name, may_open=may_open))

    def _change(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def change() -> Any:
            await self._tokens.load()
            return await work

        lock = FolderLock(self._config.storage_path)
        with contextlib.closing(work):
            try:
                lock.acquire()
            except OSError as error:
                folder = self._config.storage_path
                raise InfernetEdgeError(
                    f"{folder} cannot be used: {error.strerror}. Run this command as the user of"
                    " the node"
                ) from None
            try:
                return msgspec.to_builtins(asyncio.run(change()))
            finally:
                lock.release()

    def _has_jobs(self, client: str) -> bool:
        try:
            with open_offline(self._config) as connection:
                return connection is not None and has_any(connection, client)
        except InUse:
            raise InfernetEdgeError(
                "A node uses this storage, but its control socket does not answer: it is being"
                " started or stopped, or storage.path is too long for a socket, see its log. Try"
                " again"
            ) from None
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
            raise _unknown_jobs(error) from None
        except (sqlite3.Error, OSError) as error:
            raise _unknown_jobs(error) from None


def access_to(config: Config) -> RunningNode | StoppedNode:
    """The tokens of the node with this configuration; raises NotRunning where it is not known."""
    try:
        call(config, "GET", "/api/me")
    except NoNode:
        return StoppedNode(config)
    return RunningNode(config)


@contextlib.contextmanager
def _last_token_recognized() -> Iterator[None]:
    try:
        yield
    except ApiError as refusal:
        if refusal.params.get("opens_node"):
            raise LastToken(refusal.message) from None
        raise


def _unknown_jobs(error: Exception) -> InfernetEdgeError:
    return InfernetEdgeError(
        f"The database cannot be read ({error}), so it is not known whether the node has jobs of an"
        " earlier token of this name. Choose a new name and add --keep-jobs"
    )
