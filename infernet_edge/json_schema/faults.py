"""Why a value does not fit a schema, in the words of the API's other errors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

_SHOWN: Final = 60  # characters of a value, and of a name
_BITS_SHOWN: Final = 256  # of a whole number that is shown
_PARTS_SHOWN: Final = 20  # of a path
_LISTED: Final = 12  # names, or values


class Fault(NamedTuple):
    """A part of a value that does not fit; `path` leads to it from the value that was checked."""

    path: tuple[str | int, ...]
    expected: str
    found: str

    def below(self, step: str | int) -> Fault:
        """The same, seen from the object or the list that has it as `step`."""
        return Fault((step, *self.path), self.expected, self.found)

    def place(self, root: str) -> str:
        """Where it is, such as data.messages[0].role."""
        shown = root
        for step in self.path[:_PARTS_SHOWN]:
            if isinstance(step, int):
                shown += f"[{step}]"
            else:
                shown += f".{step}" if step.isidentifier() else f"[{quoted(step)}]"
        return shown + ("…" if len(self.path) > _PARTS_SHOWN else "")

    @property
    def pointer(self) -> str:
        """Where it is, as a JSON pointer (RFC 6901): /messages/0/role."""
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in self.path)
        return "".join(f"/{step}" for step in steps)


def quoted(value: Any) -> str:
    """A short JSON text of a scalar; other values by their kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and value.bit_length() > _BITS_SHOWN:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > _SHOWN:
        value = value[:_SHOWN] + "…"
    text = json.dumps(value, ensure_ascii=False)
    # Control characters and those that turn the direction of a text stay visible.
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return shown if len(shown) <= 4 * _SHOWN else shown[: 4 * _SHOWN] + "…"


def listed(values: Iterable[Any], last: str = "or") -> str:
    """Some values, as short JSON texts: "a", "b" or "c"."""
    shown = [quoted(value) for value in values]
    if len(shown) > _LISTED:
        return f"{', '.join(shown[:_LISTED])} {last} one of {len(shown) - _LISTED} others"
    return f" {last} ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)


def counted(number: int, what: str) -> str:
    """A number of things: "1 item", "2 items", "2 properties"."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("y") else f"{number} {what}s"
