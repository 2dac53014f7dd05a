"""The database of a node that does not run.

Only the node opens its database, so that there is one writer. While none runs, the doctor reads
it, through a connection that cannot write and does not checkpoint. A node that stopped gracefully
left all in one file, which is read without a lock or another file ("immutable" of
https://sqlite.org/uri.html); one that was killed left a WAL, which has to be read with it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from infernet_edge.config.model import Config
from infernet_edge.storage.lock import is_in_use


class InUse(Exception):
    """A node has it open."""


@contextlib.contextmanager
def open_offline(config: Config) -> Iterator[sqlite3.Connection | None]:
    """A connection to read with; None when there is no file yet. Blocks.

    Raises InUse, OSError and sqlite3.Error.
    """
    path = config.database_path
    try:
        path.stat()  # a folder that hides it raises PermissionError
    except FileNotFoundError:
        yield None
        return
    if is_in_use(path.parent):
        raise InUse
    wal = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
    try:
        yield connection
    finally:
        connection.close()
        if is_in_use(path.parent):  # started meanwhile, so what was read may be inconsistent
            raise InUse
