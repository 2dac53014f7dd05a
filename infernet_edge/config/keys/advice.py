"""Which key was probably meant by one that is not known."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from msgspec import Struct

from infernet_edge.config.keys.types import field_types, item_struct_of, struct_of, unwrap
from infernet_edge.config.model import Config
from infernet_edge.config.texts import join

_SHOWN = 3  # keys that are named at most
_SHORT = 6  # characters; in short names, one wrong letter is a larger part
_LIKE_SHORT, _LIKE_LONG = 0.6, 0.8
"""How similar names must be (difflib's ratio): `wallet_address` is not `registry_address`."""


def advice(path: str, key: str, target: type[Struct]) -> str:
    """Which keys may be meant by an unknown one in a table of type `target` at `path`.

    The same name elsewhere in the tree comes first, then the most similar one of the table, or of
    the tree if that is more similar. "" when there is none.
    """
    plain = _plain(key.rpartition(".")[2])
    here = {_plain(name): join(path, name) for name in field_types(target)}
    if plain in here:
        return _question([here[plain]])
    places = _places()
    if plain in places:
        # Below the table first: that is where a level was forgotten.
        return _question(sorted(places[plain], key=lambda each: not each.startswith(f"{path}.")))
    near_here, near_there = _nearest(plain, here), _nearest(plain, places)
    if near_here is not None and (near_there is None or near_here[0] >= near_there[0]):
        return _question([here[near_here[1]]])
    return "" if near_there is None else _question(places[near_there[1]])


def _question(paths: list[str]) -> str:
    return f"; did you mean {' or '.join(repr(path) for path in paths[:_SHOWN])}?"


def _plain(name: str) -> str:
    """A name without what differs between styles, such as rpcUrl and rpc-url."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _nearest(name: str, known: dict[str, str] | dict[str, list[str]]) -> tuple[float, str] | None:
    """The most similar known name, with its similarity; None when no name is similar enough."""
    import difflib  # most configurations have no unknown key

    least = _LIKE_SHORT if len(name) <= _SHORT else _LIKE_LONG
    found = difflib.get_close_matches(name, known, n=1, cutoff=least)
    if not found:
        return None
    return difflib.SequenceMatcher(None, found[0], name).ratio(), found[0]


@functools.cache
def _places() -> dict[str, list[str]]:
    """The paths of all keys that are served, by their plain names."""
    places: dict[str, list[str]] = {}
    for path, name in _walk(Config, ""):
        places.setdefault(_plain(name), []).append(path)
    return places


def _walk(target: type[Struct], path: str) -> Iterator[tuple[str, str]]:
    for name, hint in field_types(target).items():
        if not unwrap(hint)[1].get("served", True):
            continue
        below = join(path, name)
        yield below, name
        if table := struct_of(hint):
            yield from _walk(table, below)
        elif item := item_struct_of(hint):
            yield from _walk(item, f"{below}[]")
