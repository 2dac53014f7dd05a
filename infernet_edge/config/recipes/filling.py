"""Fill the values of inputs into a recipe's configuration."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from infernet_edge.config.recipes.recipe import PLACEHOLDER, Input, Keys, Recipe, texts_of


class Filled(NamedTuple):
    """A configuration with all values. `secrets` are the keys that contain a secret value."""

    config: dict[str, Any]
    secrets: tuple[Keys, ...]
    notes: tuple[str, ...]


class _Text(NamedTuple):
    """The text for `${name}` below `keys`, or everywhere where they are ()."""

    keys: Keys
    name: str
    text: str
    secret: bool


def fill(recipe: Recipe, values: Mapping[str, Any], extra: Iterable[Input] = ()) -> Filled:
    """The recipe's configuration with `values`, by the ids of inputs; those of others are unset.

    `extra` are inputs that are not in the recipe. A default must be among the values.
    """
    config = copy.deepcopy(recipe.config)
    secrets: dict[Keys, None] = {}
    texts: list[_Text] = []
    for each in (*recipe.inputs, *extra):
        value = values.get(each.id)
        if each.keys is None or each.placeholder:
            name = each.placeholder or each.id
            text = "" if value is None else as_text(value)
            texts.append(_Text(each.keys or (), name, text, each.secret and text != ""))
        elif value is not None:
            _put(config, each.keys, value)
            if each.secret:
                secrets[each.keys] = None
    notes = [_unused(each, recipe) for each in recipe.inputs if each.id in values]
    substitution = _Substitution(texts)
    config = substitution.apply(config, ())
    secrets |= dict.fromkeys(substitution.secrets)
    left = dict.fromkeys(name for name in substitution.unknown if name not in substitution.names)
    notes += [f"${{{name}}} is no input of the recipe; it stays as it is" for name in left]
    containers = [config] if recipe.is_service else config.get("containers")
    for container in containers if isinstance(containers, list) else ():
        _write_variables_as_text(container)
    return Filled(config, tuple(secrets), tuple(filter(None, notes)))


def as_text(value: Any) -> str:
    """A value as it is written into a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unused(given: Input, recipe: Recipe) -> str:
    if given.keys is not None and not given.placeholder:
        return ""
    value: Any = recipe.config
    for key in given.keys or ():
        value = value[int(key)] if isinstance(value, list) else (value or {}).get(key)
    wanted = f"${{{given.placeholder or given.id}}}"
    if any(wanted in text for text in texts_of(value)):
        return ""
    where = ".".join(given.keys or ()) or "the recipe"
    return f"the input {given.id} has no effect: {where} contains no {wanted}"


def _put(config: dict[str, Any], keys: Keys, value: Any) -> None:
    """Set a key; objects that are missing are created. The path was checked with the recipe."""
    parent: Any = config
    for key in keys[:-1]:
        if isinstance(parent, list):
            parent = parent[int(key)]
        else:
            if parent.get(key) is None:
                parent[key] = {}
            parent = parent[key]
    if isinstance(parent, list):
        parent[int(keys[-1])] = value
    else:
        parent[keys[-1]] = value


class _Substitution:
    """Replaces each `${NAME}` in one pass, so that values are never searched for others."""

    def __init__(self, texts: Iterable[_Text]) -> None:
        self._texts = list(texts)
        self.names = {each.name for each in self._texts}
        self.secrets: list[Keys] = []
        self.unknown: list[str] = []

    def apply(self, value: Any, keys: Keys) -> Any:
        if isinstance(value, str):
            return self._in_text(value, keys)
        if isinstance(value, list):
            return [self.apply(item, (*keys, str(n))) for n, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.apply(item, (*keys, key)) for key, item in value.items()}
        return value

    def _in_text(self, text: str, keys: Keys) -> str:
        names = PLACEHOLDER.findall(text)
        self.unknown += names
        found = {
            each.name: each
            for each in self._texts
            if each.name in names and each.keys == keys[: len(each.keys)]
        }
        if not found:
            return text
        if any(each.secret for each in found.values()):
            self.secrets.append(_owner_of(keys))
        if keys[-1] == "command":
            return _in_command(text, found)
        if _is_json(text):
            return _replaced(text, {n: json.dumps(each.text)[1:-1] for n, each in found.items()})
        return _replaced(text, {name: each.text for name, each in found.items()})


def _owner_of(keys: Keys) -> Keys:
    """The key that holds a text: a variable is one text, whatever it contains."""
    if "env" in keys:
        return keys[: keys.index("env") + 2]
    return keys


def _replaced(text: str, texts: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return texts.get(match[1], match[0])

    return PLACEHOLDER.sub(value, text)


def _in_command(text: str, found: Mapping[str, _Text]) -> str:
    """Replace within each argument; one that is empty without its value is left out."""
    texts = {name: each.text for name, each in found.items()}
    try:
        arguments = shlex.split(text)
    except ValueError:
        return _replaced(text, texts)
    made = [(each, _replaced(each, texts)) for each in arguments]
    return shlex.join(new for old, new in made if new or not old)


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _write_variables_as_text(container: Any) -> None:
    """Write lists and objects in environment variables as JSON: a variable is a text."""
    variables = container.get("env") if isinstance(container, dict) else None
    if isinstance(variables, dict):
        for name, value in variables.items():
            if isinstance(value, list | dict):
                variables[name] = as_text(value)
