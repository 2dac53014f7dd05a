"""The keywords of JSON Schema that look at one value: each becomes a function that checks it.

A check returns the first fault, or None. It is called with values of all types, and looks only at
those that its keyword is for. Section numbers are those of the draft 2020-12, "Validation".
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, Final

from infernet_edge.json_schema.faults import Fault, counted, listed, quoted
from infernet_edge.json_schema.patterns import BadPattern, Pattern

Spend = Callable[[int], None]
"""Counts work; raises TooMuchWork when there was enough."""

Check = Callable[[Any, Spend], Fault | None]

MAX_ENUM: Final = 1000
"""Values of an `enum`."""

NAMES_AT_ONCE: Final = 16
"""Names of a schema that are looked up in an object in about the time of one schema."""

_FRACTION: Final = 4  # schemas that are applied in the time of a division of fractions

_TYPES: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "null": ("null", lambda value: value is None),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: is_number(value) and value == value // 1),
    "number": ("a number", lambda value: is_number(value)),
    "string": ("text", lambda value: isinstance(value, str)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "object": ("an object", lambda value: isinstance(value, dict)),
}
_COMPARED: Final[dict[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "maximum": (operator.le, "at most"),
    "minimum": (operator.ge, "at least"),
    "exclusiveMaximum": (operator.lt, "less than"),
    "exclusiveMinimum": (operator.gt, "more than"),
}
_MEASURED: Final[dict[str, tuple[type, str, str]]] = {
    "maxLength": (str, "at most", "character"),
    "minLength": (str, "at least", "character"),
    "maxItems": (list, "at most", "item"),
    "minItems": (list, "at least", "item"),
    "maxProperties": (dict, "at most", "property"),
    "minProperties": (dict, "at least", "property"),
}


class BadKeyword(ValueError):
    """A keyword with a value that it cannot have."""

    def __init__(self, expected: str, found: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


def is_number(value: Any) -> bool:
    """Whether a value is a number; in Python, true and false are some."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind_of(value: Any) -> str:
    """The type of a value in words, with the value where it is short enough."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    return quoted(value)


def key_of(value: Any, spend: Spend) -> Any:
    """Something to hash that is equal for equal values: 1 and 1.0 are, 1 and true are not."""
    spend(1)
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, (int, float)):  # as text: a client can choose numbers of equal hashes
        return ("number", hex(int(value)) if value == value // 1 else repr(value))
    if isinstance(value, list):
        return ("list", *(key_of(item, spend) for item in value))
    if isinstance(value, dict):
        return ("object", frozenset((name, key_of(item, spend)) for name, item in value.items()))
    return value


def _free(_: int) -> None:
    """For values of the schema itself."""


def type_check(expected: Any) -> Check:
    """`type` (6.1.1)."""
    names = [expected] if isinstance(expected, str) else expected
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name in _TYPES for name in names)
    ):
        raise BadKeyword(f"one of {listed(_TYPES)}, or a list of them")
    words = " or ".join(_TYPES[name][0] for name in names)
    if len(names) == 1:
        fits = _TYPES[names[0]][1]
    else:
        tests = [_TYPES[name][1] for name in names]

        def fits(value: Any) -> bool:
            return any(test(value) for test in tests)

    def check(value: Any, spend: Spend) -> Fault | None:
        return None if fits(value) else Fault((), words, kind_of(value))

    return check


def enum_check(values: Any) -> Check:
    """`enum` (6.1.2)."""
    if not isinstance(values, list) or not 0 < len(values) <= MAX_ENUM:
        raise BadKeyword(f"a list of 1 to {MAX_ENUM} values")
    allowed = {key_of(value, _free) for value in values}
    words = listed(values)
    # What is larger than all of these is none of them, and need not be read.
    scalar = all(not isinstance(value, (list, dict)) for value in values)

    def check(value: Any, spend: Spend) -> Fault | None:
        if scalar and isinstance(value, (list, dict)):
            return Fault((), words, kind_of(value))
        return None if key_of(value, spend) in allowed else Fault((), words, kind_of(value))

    return check


def const_check(value: Any) -> Check:
    """`const` (6.1.3)."""
    return enum_check([value])


def compared_check(keyword: str, limit: Any) -> Check:
    """`maximum`, `minimum` and the exclusive ones (6.2.2 to 6.2.5)."""
    if not is_number(limit):
        raise BadKeyword("a number")
    fits, words = _COMPARED[keyword]

    def check(value: Any, spend: Spend) -> Fault | None:
        if is_number(value) and not fits(value, limit):
            return Fault((), f"{words} {quoted(limit)}", quoted(value))
        return None

    return check


def multiple_check(divisor: Any) -> Check:
    """`multipleOf` (6.2.1), of the numbers as they are written: 0.3 is a multiple of 0.1."""
    if not is_number(divisor) or divisor <= 0:
        raise BadKeyword("a number above 0")
    exact = _exact(divisor)

    def check(value: Any, spend: Spend) -> Fault | None:
        if is_number(value):
            spend(_FRACTION)
            if _exact(value) % exact:
                return Fault((), f"a multiple of {quoted(divisor)}", quoted(value))
        return None

    return check


def _exact(value: float) -> Fraction:
    return Fraction(value) if isinstance(value, int) else Fraction(str(value))


def measured_check(keyword: str, limit: Any) -> Check:
    """`maxLength`, `minItems` and the like (6.3, 6.4, 6.5)."""
    if not is_number(limit) or limit < 0 or limit != int(limit):
        raise BadKeyword("a whole number from 0")
    kind, words, what = _MEASURED[keyword]
    most = words == "at most"
    expected = f"{words} {counted(int(limit), what)}"

    def check(value: Any, spend: Spend) -> Fault | None:
        if isinstance(value, kind):
            length = len(value)  # type: ignore[arg-type]
            if length > limit if most else length < limit:
                return Fault((), expected, str(length))
        return None

    return check


def compiled(source: Any) -> Pattern:
    """A pattern of a schema; raises BadKeyword."""
    if not isinstance(source, str):
        raise BadKeyword("a regular expression")
    try:
        return Pattern(source)
    except BadPattern as error:
        raise BadKeyword(
            "a regular expression without look-around, references back and \\b",
            f"{quoted(source)} ({error})",
        ) from None


def pattern_check(source: Any) -> Check:
    """`pattern` (6.3.3)."""
    pattern = compiled(source)

    def check(value: Any, spend: Spend) -> Fault | None:
        if isinstance(value, str) and not pattern.found(value, spend):
            return Fault((), f"text that matches {quoted(source)}", quoted(value))
        return None

    return check


def unique_check(wanted: Any) -> Check | None:
    """`uniqueItems` (6.4.3)."""
    if not isinstance(wanted, bool):
        raise BadKeyword("true or false")
    if not wanted:
        return None

    def check(value: Any, spend: Spend) -> Fault | None:
        if not isinstance(value, list):
            return None
        seen: dict[Any, int] = {}
        for index, item in enumerate(value):
            first = seen.setdefault(key_of(item, spend), index)
            if first != index:
                return Fault((index,), "items that all differ", f"the same as item {first}")
        return None

    return check


def required_check(names: Any) -> Check:
    """`required` (6.5.3)."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadKeyword("a list of names")

    def check(value: Any, spend: Spend) -> Fault | None:
        if isinstance(value, dict):
            spend(len(names) // NAMES_AT_ONCE)
            for name in names:
                if name not in value:
                    spend(len(names))  # to say which
                    others = [each for each in names if each not in value]
                    also = f" (and for {listed(others[1:], 'and')})" if len(others) > 1 else ""
                    return Fault((name,), f"a value{also}", "nothing")
        return None

    return check


def dependent_required_check(needed: Any) -> Check:
    """`dependentRequired` (6.5.4)."""
    if not isinstance(needed, dict):
        raise BadKeyword("an object with lists of names")
    checks = {name: required_check(names) for name, names in needed.items()}

    def check(value: Any, spend: Spend) -> Fault | None:
        if isinstance(value, dict):
            spend(len(checks) // NAMES_AT_ONCE)
            for name, required in checks.items():
                if name in value and (fault := required(value, spend)) is not None:
                    return fault._replace(expected=f"a value, as there is {quoted(name)}")
        return None

    return check


SIMPLE: Final[dict[str, Callable[[Any], Check | None]]] = {
    "type": type_check,
    "enum": enum_check,
    "const": const_check,
    **{name: partial(compared_check, name) for name in _COMPARED},
    "multipleOf": multiple_check,
    **{name: partial(measured_check, name) for name in _MEASURED},
    "pattern": pattern_check,
    "uniqueItems": unique_check,
}
"""What makes the check of each keyword that has no schemas below it, in both drafts."""
