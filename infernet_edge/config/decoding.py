"""Convert a decoded document to Structs, and collect every error instead of stopping at the first.

msgspec alone would stop at the first error; here each leaf is converted by msgspec on its own.
"""

from __future__ import annotations

import datetime
import functools
import json
import operator
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from infernet_edge.config.errors import PermissionWarning, Problem
from infernet_edge.config.keys.advice import advice
from infernet_edge.config.keys.types import field_types, table_of, unwrap
from infernet_edge.config.secret_files import MAX_SECRET, Secret, read_secret
from infernet_edge.config.texts import EXPECTED, flaw, flaws, join, printable
from infernet_edge.config.values import numbers
from infernet_edge.config.values.json_errors import json_error
from infernet_edge.config.values.json_files import MAX_JSON_FILE, read_json_object
from infernet_edge.config.values.relative_paths import NO_FOLDERS, Folders, Use
from infernet_edge.validation import explain, words

_INVALID = object()
_SHOWN = 60  # characters of a wrong value that are shown


class EnvironmentText(str):
    """A value of an environment variable, which may represent a number, a list or an object."""

    __slots__ = ()


class Conversion:
    """The conversion of one document; collects `problems` and `warnings`.

    Relative paths are resolved from `folders`, except for those of environment variables.
    """

    def __init__(self, folders: Folders = NO_FOLDERS) -> None:
        self._folders = folders
        self._from_environment: list[str] = []  # paths of lists and tables from there
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def struct(self, value: Any, target: type[Struct], path: str) -> Any:
        """Convert a mapping to a `target`.

        An invalid value is replaced by its default (or "" where there is none), so that the rules
        between keys can still be checked. The result is valid only if there are no `problems`.
        """
        value = self._decoded(value, path)
        whole = isinstance(value, dict)
        if not whole:
            self._problem(path, _not_decoded(value) or show(value), "an object")
            value = {}
        hints = field_types(target)
        for key in value:
            if key not in hints:
                self._unknown(path, str(key), value[key], target)
        arguments: dict[str, Any] = {}
        for definition in msgspec.structs.fields(target):
            name = definition.name
            item = value.get(name)
            required = definition.default is NODEFAULT and definition.default_factory is NODEFAULT
            made = _INVALID
            if item is not None:  # null means "not set", as in the reference node's files
                made = self.value(item, hints[name], join(path, name))
            elif required and whole:
                self._problem(join(path, name), "nothing", describe(hints[name]))
            if made is not _INVALID:
                arguments[name] = made
            elif required:
                arguments[name] = ""
        return target(**arguments)

    def value(self, value: Any, hint: Any, path: str) -> Any:
        """Convert one value of any type of the tree; returns `_INVALID` if it is invalid."""
        if isinstance(value, (datetime.date, datetime.time)):  # of TOML, without quotes
            value = value.isoformat()
        if isinstance(value, str) and (found := flaw(value)):
            return self._problem(path, found, EXPECTED)
        base, extra = unwrap(hint)
        if extra.get("json_file"):
            if isinstance(value, str) and not value.startswith("{"):
                return self._json_file(value, path)
            extra = {}  # which what is in a table would inherit
        if get_origin(base) is list:
            return self._list(value, get_args(base)[0], path)
        if get_origin(base) is dict:
            return self._mapping(value, get_args(base)[1], extra, path)
        if base is Secret:
            in_file = extra.get("in_file") and isinstance(value, str)
            return self._secret({"file": value} if in_file else value, path)
        if _is_struct(base):
            return self.struct(value, base, path)
        members = get_args(base)
        if Secret in members:
            if (table := table_of(base)) is not None:
                return self._secret_or_table(value, table, path)
            if isinstance(value, dict):
                return self._secret(value, path)
            hint = functools.reduce(operator.or_, (each for each in members if each is not Secret))
        made = self._leaf(value, hint, extra, path)
        if isinstance(made, Struct) and isinstance(value, dict):  # one of several types
            for key in value.keys() - field_types(type(made)).keys():
                self._unknown(path, str(key), value[key], type(made))
        if isinstance(made, str) and extra.get("path"):
            from_environment = isinstance(value, EnvironmentText)
            return made if from_environment else self._resolved(made, extra["path"], path)
        if note := numbers.milliseconds_note(made, extra):
            self.warnings.append(f"{path}: {note}")
        return made

    def _decoded(self, value: Any, path: str) -> Any:
        """A list or a table of an environment variable, which is written as JSON."""
        if not isinstance(value, EnvironmentText):
            return value
        self._from_environment.append(path)
        return _json_or_text(value)

    def _resolved(self, text: str, use: Use, path: str) -> str:
        """A path that may be relative, as an absolute one."""
        if path.startswith(tuple(self._from_environment)):
            return text
        resolved, note = self._folders.resolve(text, use)
        if note:
            self.warnings.append(f"{path}: {note}")
        return resolved

    def _json_file(self, file: str, path: str) -> Any:
        """The object in a file that the configuration names."""
        file = self._resolved(file, "read", path)
        try:
            return read_json_object(file)
        except OSError as error:
            found = error.strerror or str(error)
        except ValueError as error:
            found = str(error)
        expected = f"an object, or a file of at most {MAX_JSON_FILE} bytes with one, as JSON"
        return self._problem(path, f"file {printable(file)} ({printable(found)})", expected)

    def _list(self, value: Any, item_hint: Any, path: str) -> Any:
        value = self._decoded(value, path)
        if not isinstance(value, list):
            return self._problem(path, _not_decoded(value) or show(value), "a list")
        made = [self.value(item, item_hint, f"{path}[{n}]") for n, item in enumerate(value)]
        return _INVALID if any(item is _INVALID for item in made) else made

    def _mapping(self, value: Any, item_hint: Any, extra: dict[str, Any], path: str) -> Any:
        value = self._decoded(value, path)
        if not isinstance(value, dict):
            return self._problem(path, _not_decoded(value) or type_name(value), "an object")
        made = {}
        for key, item in value.items():
            below = join(path, str(key))
            if found := flaw(str(key)):
                self._problem(below, f"a key that is {found}", EXPECTED)
            inherited = Annotated[item_hint, Meta(extra=extra)] if extra else item_hint
            made[str(key)] = self.value(item, inherited, below)
        return _INVALID if any(item is _INVALID for item in made.values()) else made

    def _secret(self, value: Any, path: str) -> Any:
        expected = 'text, or {"file": "/path/of/a/file"}'
        if isinstance(value, EnvironmentText) and value.startswith("{"):
            value = self._decoded(value, path)
        if isinstance(value, str):
            return Secret(str(value))
        if not (isinstance(value, dict) and set(value) == {"file"}):
            return self._problem(path, type_name(value), expected)
        file = value["file"]
        if not isinstance(file, str):
            return self._problem(path, type_name(file), expected)
        if found := flaw(file):
            return self._problem(join(path, "file"), found, EXPECTED)
        file = self._resolved(file, "read", path)
        expected = f"a file of at most {MAX_SECRET} bytes that the node can read"
        try:
            text, mode = read_secret(Path(file))
        except OSError as error:
            return self._problem(path, f"file {printable(file)} ({error.strerror})", expected)
        except ValueError as error:
            return self._problem(path, f"file {printable(file)} ({error})", expected)
        if found := flaw(text):
            return self._problem(path, f"file {printable(file)} that holds {found}", EXPECTED)
        if mode & 0o077:
            note = f"others can read {file} ({path}): chmod 600 {shlex.quote(file)}"
            self.warnings.append(PermissionWarning(note))
        return Secret(text, Path(file))

    def _secret_or_table(self, value: Any, target: type[Struct], path: str) -> Any:
        """A secret, or a table that has it as `token` or `file`, with other keys."""
        if isinstance(value, EnvironmentText) and value.startswith("{"):
            value = self._decoded(value, path)
        if not isinstance(value, dict) or set(value) == {"file"}:
            return self._secret(value, path)
        # Ignored, an unknown key could permit more than is meant.
        if unknown := [str(key) for key in value if key not in field_types(target)]:
            for key in unknown:
                expected = f"one of {', '.join(field_types(target))}"
                self._problem(join(path, printable(key)), "an unknown key", expected)
            return _INVALID
        given = [key for key in ("token", "file") if value.get(key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "neither token nor file"
            return self._problem(path, found, "one of token and file")
        return self.struct(value, target, path)

    def _leaf(self, value: Any, hint: Any, extra: dict[str, Any], path: str) -> Any:
        attempts: list[tuple[Any, bool]] = [(value, not extra.get("text_allowed", False))]
        if isinstance(value, EnvironmentText):
            attempts = [(str(value), False), (_json_or_text(value), True)]
            if value.startswith(("[", "{")):  # where text is valid too, a list is meant
                attempts.reverse()
            elif extra.get("bool_first"):  # 1 and true are booleans, "1" in quotes is text
                attempts = [(_bool_or_json(value), True), *attempts]
        failure: msgspec.ValidationError | None = None
        for candidate, strict in attempts:
            try:
                made = msgspec.convert(candidate, hint, strict=strict)
            except msgspec.ValidationError as error:
                failure = error
                continue
            # Of lists and objects that are converted as a whole, such as a container's models.
            below = list(flaws(candidate, path))
            self.problems += below
            return _INVALID if below else made
        for candidate, _ in attempts:
            if (limit := numbers.limited(candidate, hint)) is not None:
                self.warnings.append(f"{path}: {candidate} is out of range, {limit} is used")
                return limit
        explained = explain(str(failure))
        expected = extra.get("expected", explained.expected)
        if get_origin(base := unwrap(hint)[0]) is Literal:
            expected = " or ".join(f'"{choice}"' for choice in get_args(base))
        suffix = explained.path
        joined = not suffix or suffix.startswith("[")
        where = path + suffix if joined else join(path, suffix)
        found = show(_descend(value, suffix)) if not extra.get("secret") else type_name(value)
        return self._problem(where, found, expected)

    def _problem(self, path: str, found: str, expected: str) -> Any:
        self.problems.append(Problem(path, found, expected))
        return _INVALID

    def _unknown(self, path: str, key: str, value: Any, target: type[Struct]) -> None:
        if found := list(flaws({key: value}, path)):
            self.problems += found
            return
        where = join(path, key)
        self.warnings.append(f"unknown key {where!r} is ignored{advice(path, key, target)}")


def show(value: Any) -> str:
    """A wrong value, as short text."""
    if isinstance(value, (dict, list)):
        return type_name(value)
    if isinstance(value, str):
        text = printable(json.dumps(value, ensure_ascii=False))
    else:
        text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def type_name(value: Any) -> str:
    """The kind of a JSON value, for secrets and whole structures, whose values are not shown."""
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "an object"),
    ]
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def describe(hint: Any) -> str:
    """A description of the values of this type."""
    base, _ = unwrap(hint)
    return words(getattr(base, "__name__", "") or "a value")


def _descend(value: Any, suffix: str) -> Any:
    """The part of `value` at msgspec's path `suffix`, such as "[0].name"."""
    for index, key in re.findall(r"\[(\d+)\]|([^.\[\]]+)", suffix):
        if index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        elif key and isinstance(value, dict) and key in value:
            value = value[key]
    return value


def _not_decoded(value: Any) -> str:
    """Where a text that is meant as JSON is none; "" for other values. It may have secrets."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return ""
    try:
        msgspec.json.decode(str(value))
    except msgspec.DecodeError as error:
        return f"text that is not JSON {json_error(str(value), str(error))}"
    except RecursionError:
        return "text that is nested too deeply"
    return "text"


def _json_or_text(value: str) -> Any:
    try:
        return msgspec.json.decode(str(value))
    except (msgspec.DecodeError, RecursionError):
        return str(value)


def _bool_or_json(value: str) -> Any:
    try:
        return msgspec.convert(str(value), bool, strict=False)
    except msgspec.ValidationError:
        return _json_or_text(value)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)
