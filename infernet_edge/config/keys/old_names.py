"""Keys of older versions of the Infernet node, moved to where they are now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_MOVED: Final = (
    (("log_path",), ("log", "path")),
    (("snapshot_sync",), ("chain", "snapshot_sync")),  # 0.2
    (("chain", "allowed_sim_errors"), ("chain", "wallet", "allowed_sim_errors")),
)
_RPC_WS = "rpc_ws"  # of chain, 0.1


def move_old_names(document: dict[str, Any]) -> Iterator[str]:
    """Move the keys, in place, unless they have a value where they are now; yields notes.

    Values may have any type: the conversion finds what is wrong, at the path where they are now.
    """
    for old, new in _MOVED:
        table = _table(document, old[:-1])
        if table is None or old[-1] not in table:
            continue
        value = table.pop(old[-1])
        target = _table(document, new[:-1], make=True)
        if target is None:  # an error, which is reported there
            continue
        if target.get(new[-1]) is None:
            target[new[-1]] = value
        elif target[new[-1]] != value:
            yield f"{'.'.join(old)} is ignored: it is the old name of {'.'.join(new)}, which is set"
    yield from _move_rpc_ws(document)


def old_name(path: str) -> str:
    """The old name of a key, or of one below a table that had another name; "" for none."""
    for old, new in _MOVED:
        name = ".".join(new)
        if path == name or path.startswith(f"{name}."):
            return ".".join(old) + path[len(name) :]
    return ""


def _move_rpc_ws(document: dict[str, Any]) -> Iterator[str]:
    """WebSockets are not used. The value may hold a key, and is not shown."""
    chain = _table(document, ("chain",))
    if chain is None or chain.get(_RPC_WS) is None:
        return
    url = chain.pop(_RPC_WS)
    if chain.get("rpc_url"):
        yield "chain.rpc_ws is ignored: chain.rpc_url is used, a WebSocket is not needed"
    elif isinstance(url, str) and url.lower().startswith(("http://", "https://")):
        chain["rpc_url"] = url
    else:
        yield (
            "chain.rpc_ws is ignored, since the node uses no WebSocket: set chain.rpc_url to the"
            " http:// or https:// URL of that server"
        )


def _table(
    document: dict[str, Any], path: tuple[str, ...], *, make: bool = False
) -> dict[str, Any] | None:
    """The table at a path, made where it is missing or null; None for another value."""
    table = document
    for key in path:
        if table.get(key) is None and make:
            table[key] = {}
        below = table.get(key)
        if not isinstance(below, dict):
            return None
        table = below
    return table
