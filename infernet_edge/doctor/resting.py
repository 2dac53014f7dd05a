"""The database of a node that does not run.

Only the node opens its database, so that nobody writes beside it. While none runs, the doctor reads
it, through a connection that cannot write and does not checkpoint.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from infernet_edge.config.tree import Config
from infernet_edge.database import is_in_use


class InUse(Exception):
    """A node has it open."""


@contextlib.contextmanager
def open_resting(config: Config) -> Iterator[sqlite3.Connection | None]:
    """A connection to read with; None when there is no file yet. Blocks.

    Raises InUse, OSError and sqlite3.Error.
    """
    path = config.database_path
    if not path.exists():
        yield None
        return
    if is_in_use(path.parent):
        raise InUse
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()
