"""Notices that blocks which were seen have been replaced: a reorg. Pure: no input or output."""

from __future__ import annotations

from typing import Any

from infernet_edge.chain.rpc.head_tracker import BlockHeader


class ReorgDetector:
    """Compares each head with the one before it.

    `doubted` is a block of which it is not known whether it is still there, because the head has
    moved on by several blocks since; it is to be asked for by its number, with the next head.
    """

    def __init__(self) -> None:
        self.doubted: BlockHeader | None = None
        self._last: BlockHeader | None = None

    def observe(self, head: BlockHeader, found: Any = None) -> int | None:
        """Note a head. None when no block was replaced; else by how many blocks the head fell.

        `found` is what the server has in the place of `doubted`: a block as JSON, null when there
        is none, or an RpcError. A head that rose has fallen by less than zero.
        """
        last, doubted = self._last, self.doubted
        self.doubted = None
        replaced = doubted is not None and _is_another(found, doubted)
        if last is not None and head.number <= last.number:
            # The tracker gives a lower head only after several polls that agree.
            replaced = replaced or head.hash != last.hash
        elif last is not None and head.number == last.number + 1:
            replaced = replaced or head.parent not in ("", last.hash)
        else:
            self.doubted = last
        self._last = head
        if not replaced:
            return None
        return 0 if last is None else last.number - head.number


def _is_another(found: Any, known: BlockHeader) -> bool:
    """Whether another block has taken the place of one that was seen.

    A server that has no block there lags, which says nothing.
    """
    return isinstance(found, dict) and found.get("hash") not in (None, known.hash)
