"""The pages of a damaged database file, and to which table each belongs.

A file with auto_vacuum names the parent of each page twice: in the inner pages of its tables, and
in pointer map pages. So where one of the two is lost, the other one is used.

The format is that of https://www.sqlite.org/fileformat2.html; the chapters are those of that page.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
from collections.abc import Callable, Sequence
from typing import Final

# 1.6: the first byte of a page of a table or an index.
INNER_INDEX, INNER_TABLE, LEAF_INDEX, LEAF_TABLE = 2, 5, 10, 13
# 1.8: the kinds of pages in the pointer map that have a parent.
OVERFLOW_FIRST, OVERFLOW, _TREE_PAGE = 3, 4, 5

_INNER: Final = (INNER_INDEX, INNER_TABLE)
_TREE: Final = (*_INNER, LEAF_INDEX, LEAF_TABLE)
_KINDS: Final = range(1, 6)  # of the pointer map; another one means that this part of it is lost
_ENTRY: Final = 5  # bytes of the pointer map for each page: its kind and its parent
_DEEPEST: Final = 20  # pages from a root to a leaf; SQLite's own bound (BTCURSOR_MAX_DEPTH)
_LONGER: Final = 64  # times its size: a file that was cut off is not believed to have been longer
_HEADER: Final = 100  # bytes at the beginning of the first page
_OTHER: Final = 255  # the owner of a page that belongs to no table that is asked for


def page_kind(page: bytes) -> int:
    """The first byte of a page; 0 for one that could not be read."""
    return page[0] if page else 0


def cells_of(page: bytes) -> Sequence[int]:
    """1.6: where the cells of a page begin; none when its header is damaged."""
    header = 12 if page[0] in _INNER else 8
    count = int.from_bytes(page[3:5])
    if header + 6 * count > len(page):  # a cell has at least 4 bytes, and its place has 2
        return ()
    found: Sequence[int] = struct.unpack_from(f">{count}H", page, header)
    return [at for at in found if header + 2 * count <= at < len(page)]


class Pages:
    """The pages of a file, and what its pointer map says of them."""

    def __init__(self, file: int) -> None:
        """`file` is a descriptor. Raises OSError."""
        header = os.pread(file, _HEADER, 0).ljust(_HEADER, b"\0")  # 1.3
        size = int.from_bytes(header[16:18])
        self._file = file
        self._size = 65536 if size == 1 else size
        self._usable = self._size - header[20]
        is_valid = self._size >= 512 and self._size & (self._size - 1) == 0 and self._usable >= 480
        # The largest root page: it is 0 in a file without a pointer map.
        self.has_pointer_map = is_valid and header[52:56] != bytes(4)
        # A page that is cut off is left out: the rest of its rows would be zeros.
        self._count = os.fstat(file).st_size // self._size if is_valid else 0
        self._entries = self._usable // _ENTRY
        self._lock_page = 2**30 // self._size + 1 if is_valid else 0  # never used
        # Pages that a file which was cut off has lost may still be known as parents, so they have
        # owners too: those of its last part of the map, and those of the header's size.
        size_before = int.from_bytes(header[28:32])
        self._known = self._map_page(self._count) + self._entries if self._count > 1 else 0
        if size_before <= _LONGER * self._count:
            self._known = max(self._known, size_before)
        self._map = functools.lru_cache(64)(self.read)
        self._children = functools.lru_cache(8)(self._read_children)

    def read(self, number: int) -> bytes:
        """The content of a page; empty when there is no such page, or the disk fails."""
        if not 0 < number <= self._count:
            return b""
        with contextlib.suppress(OSError):
            content = os.pread(self._file, self._usable, (number - 1) * self._size)
            if number == 1:
                # The file's header comes first: put that of the page in its place, as in others.
                size = 12 + 2 * int.from_bytes(content[_HEADER + 3 : _HEADER + 5])
                moved = content[_HEADER : _HEADER + size]
                content = moved + content[len(moved) :]
            return content if len(content) == self._usable else b""
        return b""

    def entry(self, number: int) -> tuple[int, int]:
        """1.8: the kind of a page and its parent by the pointer map; zeros when that is lost."""
        first = self._map_page(number)
        at = _ENTRY * (number - first - 1)
        found = self._map(first)[at : at + _ENTRY] if at >= 0 and number > first else b""
        return (found[0], int.from_bytes(found[1:])) if len(found) == _ENTRY else (0, 0)

    def _map_page(self, number: int) -> int:
        """The page of the pointer map in which a page is."""
        page = (number - 2) // (self._entries + 1) * (self._entries + 1) + 2
        return page + 1 if page == self._lock_page else page

    def owners(self, roots: Sequence[int], on_progress: Callable[[], None]) -> bytearray:
        """For each page of a b-tree the number of its root in the list, from 1; else _OTHER or 0.

        The last ones of more than 254 roots are left out: a byte has no more numbers.
        """
        owners = bytearray(self._known)
        for number, root in enumerate(roots[: _OTHER - 1], 1):
            if 0 < root <= self._known and not 0 < self.entry(root)[1] <= self._known:
                owners[root - 1] = number
                self._descend(root, number, owners)
                on_progress()
        for first in range(2, self._count + 1, self._entries + 1):
            page = self._map_page(first)
            kinds = self._map(page)[: self._entries * _ENTRY : _ENTRY]
            for number, kind in enumerate(kinds, page + 1):
                if kind == _TREE_PAGE and number <= self._count and not owners[number - 1]:
                    self._find_owner(number, owners)
            on_progress()
        return owners

    def _descend(self, root: int, owner: int, owners: bytearray) -> None:
        """Mark the pages whose part of the map is lost, and that a page above them names.

        Only inner pages are read, and of the pages below each one the first that can be read: all
        of these are inner pages or all are leaves.
        """
        waiting, seen = [root], {root}
        while waiting:
            number = waiting.pop()
            below = []
            for child in self._children(number) or ():
                kind, parent = self.entry(child)
                if child in seen:
                    continue
                if kind not in _KINDS and not owners[child - 1]:
                    owners[child - 1] = owner
                elif (kind, parent) != (_TREE_PAGE, number):
                    continue
                below.append(child)
            first = next((each for each in map(self.read, below) if page_kind(each) in _TREE), b"")
            if page_kind(first) in _INNER:
                waiting += below
                seen.update(below)

    def _find_owner(self, number: int, owners: bytearray) -> None:
        """Follow the parents of a page to one whose owner is known."""
        below: list[int] = []
        while 0 < number <= self._known and not (owner := owners[number - 1]):
            below.append(number)
            kind, parent = self.entry(number)
            if kind != _TREE_PAGE or len(below) > _DEEPEST or not self._is_child(number, parent):
                break
            number = parent
        else:
            owner = owners[number - 1] if 0 < number <= self._known else _OTHER
        for each in below:
            owners[each - 1] = owner or _OTHER

    def _is_child(self, number: int, parent: int) -> bool:
        """Whether the pages agree with the map that this is the parent, or cannot say it.

        A wrong bit in the map must not give the rows of a table to another one.
        """
        children = self._children(parent)
        return children is None or number in children

    def _read_children(self, number: int) -> frozenset[int] | None:
        """The pages that an intact page names as those below it; None for a damaged one."""
        page = self.read(number)
        if page_kind(page) not in _TREE:
            return None
        cells = cells_of(page)
        content = int.from_bytes(page[5:7]) or 65536
        if len(cells) != int.from_bytes(page[3:5]) or any(at < content for at in cells):
            return None
        if page[0] not in _INNER:
            return frozenset()
        below = [page[at : at + 4] for at in cells] + [page[8:12]]
        children = frozenset(int.from_bytes(each) for each in below)
        is_wrong = any(self._is_of_another(child, number) for child in children)
        return None if is_wrong else children

    def _is_of_another(self, number: int, parent: int) -> bool:
        """Whether a page cannot be below this parent: the map and another page agree on that."""
        kind, other = self.entry(number)
        if not 2 < number <= self._known:
            return True
        return (
            kind in (_TREE_PAGE, OVERFLOW_FIRST, OVERFLOW)
            and other != parent
            and number.to_bytes(4) in self.read(other)
        )
