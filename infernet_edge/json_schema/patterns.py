"""Regular expressions of schemas, matched in a time that is linear in the text.

Python's `re` goes back and tries again: `^(a+)+$` takes years for a text of 40 characters, and
holds the interpreter meanwhile. A client chooses the text, so patterns run here as automata, as
RE2 does; what an automaton cannot do (groups that look around, references back, word boundaries)
is refused when the configuration is read. The syntax is that of ECMA-262, which JSON Schema names:
\\d and \\w are ASCII, $ is the end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

MAX_PATTERN: Final = 1000
"""Characters of a pattern."""
_MAX_STATES: Final = 1000  # of an automaton: what {n,m} repeats is there n to m times
_CACHE_SIZE: Final = 500  # sets of states of one automaton, and steps between them
_MAX_DEPTH: Final = 50  # groups in groups
_PART: Final = 4096  # characters of a text whose work is counted at once
_STEPS: Final = 16  # known steps that count as one

_LAST: Final = 0x10FFFF
_LINE_ENDS: Final = ((10, 10), (13, 13), (0x2028, 0x2029))
_DIGITS: Final = ((48, 57),)
_WORD: Final = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final = (
    *((9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_COUNT: Final = re.compile(r"\{(\d{1,6})(,(\d{0,6}))?\}")

Ranges = tuple[tuple[int, int], ...]


_ACCEPT: Final = -1  # the number of the state at which a part fits


class BadPattern(ValueError):
    """A pattern that cannot be used; the text says why."""


class _Characters(NamedTuple):
    """One character, in one of these ranges of codes."""

    ranges: Ranges


class _Position(NamedTuple):
    """The "start" or the "end" of the text."""

    where: str


class _Sequence(NamedTuple):
    parts: list[_Tree]


class _Choice(NamedTuple):
    parts: list[_Tree]


class _Repeat(NamedTuple):
    """A part, `least` to `most` times; None = without end."""

    part: _Tree
    least: int
    most: int | None


_Tree = _Characters | _Position | _Sequence | _Choice | _Repeat


class _State(NamedTuple):
    """A state that leads to `next`: by a character in `ranges`, or without one where that is None.

    `only` is the position at which it leads there: "start", "end", or "" for each.
    """

    ranges: Ranges | None
    next: list[int]
    only: str = ""


class Pattern:
    """A compiled pattern; `found` says whether a text has a part that fits."""

    def __init__(self, source: str) -> None:
        """Raises BadPattern."""
        if len(source) > MAX_PATTERN:
            raise BadPattern(f"it has {len(source)} characters, at most {MAX_PATTERN} are read")
        self._states: list[_State] = []
        self._first = self._build(_Parser(source).parse(), _ACCEPT)
        self._cache: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._ends: dict[frozenset[int], bool] = {}
        self._begin = self._closure([self._first], "start")
        self._again = self._closure([self._first], "")  # a part may begin at each character

    def found(self, text: str, spend: Callable[[int], None]) -> bool:
        """Whether some part of a text fits.

        `spend` is called with the work: that of steps that are known from an earlier text, and the
        number of states where a step is not.
        """
        present, cache = self._begin, self._cache
        for start in range(0, len(text), _PART):
            part = text[start : start + _PART]
            spend(1 + len(part) // _STEPS)
            for character in part:
                if _ACCEPT in present:
                    return True
                key = present, character
                following = cache.get(key)
                if following is None:
                    spend(len(present))
                    if len(cache) >= _CACHE_SIZE:
                        cache.clear()
                    following = cache[key] = self._step(present, ord(character))
                present = following
        if (ends := self._ends.get(present)) is None:
            if len(self._ends) >= _CACHE_SIZE:
                self._ends.clear()
            # An empty text begins where it ends.
            where = "start end" if not text else "end"
            ends = _ACCEPT in present or _ACCEPT in self._closure(present, where)
            if text:
                self._ends[present] = ends
        return ends

    def _build(self, tree: _Tree, following: int) -> int:
        """Add the states of a part, before another state; returns the number of the first."""
        if isinstance(tree, _Sequence):
            for part in reversed(tree.parts):
                following = self._build(part, following)
            return following
        if isinstance(tree, _Choice):
            return self._add(None, [self._build(part, following) for part in tree.parts])
        if isinstance(tree, _Position):
            return self._add(None, [following], tree.where)
        if isinstance(tree, _Characters):
            return self._add(tree.ranges, [following])
        if tree.most is None:
            loop = self._add(None, [following])
            self._states[loop].next.append(self._build(tree.part, loop))
            following = loop
        else:
            for _ in range(tree.most - tree.least):
                optional = self._build(tree.part, following)
                following = self._add(None, [optional, following])
        for _ in range(tree.least):
            size = len(self._states)
            following = self._build(tree.part, following)
            if len(self._states) == size:
                break  # an empty part: it fits once or many times
        return following

    def _add(self, ranges: Ranges | None, following: list[int], only: str = "") -> int:
        if len(self._states) >= _MAX_STATES:
            raise BadPattern("it repeats too much; use maxLength for lengths")
        self._states.append(_State(ranges, following, only))
        return len(self._states) - 1

    def _step(self, present: frozenset[int], code: int) -> frozenset[int]:
        reached = []
        for number in present:
            ranges = self._states[number].ranges if number >= 0 else None
            if ranges is not None and any(low <= code <= high for low, high in ranges):
                reached += self._states[number].next
        return self._closure(reached, "") | self._again

    def _closure(self, numbers: list[int] | frozenset[int], where: str) -> frozenset[int]:
        """The states that are reached from these without a character."""
        found, waiting = set(numbers), list(numbers)
        while waiting:
            number = waiting.pop()
            if number == _ACCEPT:
                continue
            state = self._states[number]
            if state.ranges is None and (not state.only or state.only in where):
                new = [each for each in state.next if each not in found]
                found.update(new)
                waiting += new
        return frozenset(found)


class _Parser:
    """Reads a pattern."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._depth = 0

    def parse(self) -> _Tree:
        tree = self._choice()
        if self._at < len(self._source):
            raise self._error('")" without "("')
        return tree

    def _error(self, problem: str) -> BadPattern:
        return BadPattern(f"{problem}, at character {self._at + 1}")

    def _take(self, text: str) -> bool:
        """Go behind this text, where it is next."""
        if not self._source.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _next(self) -> str:
        if self._at == len(self._source):
            raise self._error("the pattern ends too early")
        self._at += 1
        return self._source[self._at - 1]

    def _choice(self) -> _Tree:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(parts)

    def _sequence(self) -> _Tree:
        parts: list[_Tree] = []
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return _Sequence(parts)

    def _repeated(self, part: _Tree) -> _Tree:
        least: int
        most: int | None
        if self._take("*"):
            least, most = 0, None
        elif self._take("+"):
            least, most = 1, None
        elif self._take("?"):
            least, most = 0, 1
        elif count := _COUNT.match(self._source, self._at):
            least = most = int(count[1])
            if count[2]:
                most = int(count[3]) if count[3] else None
            if most is not None and most < least:
                raise self._error("a repeat whose maximum is below its minimum")
            self._at = count.end()
        else:
            return part
        self._take("?")  # which part is found does not matter
        if self._at < len(self._source) and self._source[self._at] in "*+?":
            raise self._error("a repeat of a repeat")
        return _Repeat(part, least, most)

    def _atom(self) -> _Tree:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return _Characters(self._set())
        if character == ".":
            return _Characters(_inverted(_LINE_ENDS))
        if character in "^$":
            return _Position("start" if character == "^" else "end")
        if character in "*+?":
            self._at -= 1
            raise self._error("nothing to repeat")
        if character == "\\":
            found = self._escape()
            return _Characters(((found, found),) if isinstance(found, int) else found)
        return _Characters(((ord(character), ord(character)),))

    def _group(self) -> _Tree:
        if self._take("?:"):
            pass
        elif self._take("?<") and self._source[self._at : self._at + 1] not in ("=", "!", ""):
            while self._next() != ">":
                pass
        elif self._source[self._at - 2 : self._at] == "?<" or self._take("?"):
            raise self._error("a group that looks around, or another extension, is not supported")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"more than {_MAX_DEPTH} groups in groups")
        tree = self._choice()
        self._depth -= 1
        if not self._take(")"):
            raise self._error('"(" without ")"')
        return tree

    def _set(self) -> Ranges:
        is_inverted = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            first = self._member()
            if not isinstance(first, int):
                ranges += first
                continue
            last: int | Ranges = first
            if self._source.startswith("-", self._at) and not self._source.startswith(
                "-]", self._at
            ):
                self._at += 1
                last = self._member()
            if not isinstance(last, int) or last < first:
                raise self._error("a range in [] whose end is before its beginning")
            ranges.append((first, last))
        return _inverted(ranges) if is_inverted else tuple(ranges)

    def _member(self) -> int | Ranges:
        character = self._next()
        if character != "\\":
            return ord(character)
        if self._take("b"):
            return 8
        return 45 if self._take("-") else self._escape()

    def _escape(self) -> int | Ranges:
        r"""What stands behind a \: the code of a character, or a class of them."""
        character = self._next()
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS and not (character == "0" and self._digit_follows()):
            return _CONTROLS[character]
        if character in "xu":
            return self._code(character)
        if character == "c" and (letter := self._next()).isascii() and letter.isalpha():
            return ord(letter) % 32
        if character.isalnum():
            self._at -= 1
            raise self._error(f"\\{character} is not supported")
        return ord(character)

    def _digit_follows(self) -> bool:
        return self._source[self._at : self._at + 1].isdigit()

    def _code(self, kind: str) -> int:
        if kind == "u" and self._take("{"):
            digits = ""
            while (digit := self._next()) != "}":
                digits += digit
        else:
            count = 2 if kind == "x" else 4
            digits = self._source[self._at : self._at + count].ljust(count)
            self._at += count
        if not re.fullmatch("[0-9A-Fa-f]{1,6}", digits) or int(digits, 16) > _LAST:
            raise self._error(f"\\{kind} without the hex digits of a character")
        return int(digits, 16)


def _inverted(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All characters but these."""
    found, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    if begin <= _LAST:
        found.append((begin, _LAST))
    return tuple(found)


_CLASSES: Final = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": _inverted(_DIGITS),
    "W": _inverted(_WORD),
    "S": _inverted(_SPACE),
}
