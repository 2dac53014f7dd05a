"""Read a recipe: the configuration in it, and the inputs that users give.

The form is that of https://github.com/ritual-net/infernet-recipes. An input has `id`, `type`,
`path`, `description`, `required` and `default`. Its path leads to a key (`chain.rpc_url`,
`env.NAME`), or to a `${NAME}` in the texts of a key (`command#NAME`). An input without a path is
every `${ID}` of the configuration; one without an id has the last name of its path.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Struct

from infernet_edge.config.decoding import show, type_name
from infernet_edge.config.errors import ConfigurationError, Problem
from infernet_edge.config.keys.types import field_types, struct_of, table_of, unwrap
from infernet_edge.config.model import Config, Container
from infernet_edge.config.recipes.recognition import is_bare_service, is_service
from infernet_edge.config.secret_files import Secret

Keys = tuple[str, ...]
Kind = Literal["text", "integer", "number", "boolean", "list", "object", "any"]

PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_MAX_INPUTS = 100
_TYPES: Final[dict[Kind, tuple[str, ...]]] = {
    "text": ("string", "str", "text", "secret", "password", "url", "address", "path"),
    "integer": ("integer", "int"),
    "number": ("number", "float", "double"),
    "boolean": ("boolean", "bool"),
    "list": ("array", "list"),
    "object": ("object", "dict", "json"),
    "any": ("any",),
}
EXPECTED: Final[dict[Kind, str]] = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list as JSON",
    "object": "an object as JSON",
    "any": "a value",
}
_SECRET_WORDS = frozenset(
    ("apikey", "credential", "credentials", "key", "passphrase", "passwd", "password", "secret")
)
_PLAIN_WORDS = frozenset(("count", "dir", "file", "id", "length", "limit", "name", "path", "size"))


class Input(NamedTuple):
    """One input. `keys` lead to its key; None: it is every `${ID}` of the configuration.

    `placeholder` is the NAME in the texts of that key, "" where the value is the whole key.
    `default` is None where there is none.
    """

    id: str
    kind: Kind
    keys: Keys | None
    placeholder: str
    description: str
    required: bool
    default: Any
    secret: bool

    @property
    def expected(self) -> str:
        """What its values are, with the recipe's description."""
        described = f" ({self.description.rstrip('.')})" if self.description else ""
        return f"{EXPECTED[self.kind]}{described}"


class Recipe(NamedTuple):
    """A recipe: `config` is a container if it is a service, else a node's configuration."""

    source: str
    config: dict[str, Any]
    inputs: tuple[Input, ...]

    @property
    def is_service(self) -> bool:
        return is_service(self.config)

    @property
    def root(self) -> type[Struct]:
        """The Struct of `config`."""
        return Container if self.is_service else Config


def parse(document: Mapping[str, Any], source: str) -> Recipe:
    """A recipe from its decoded file; raises ConfigurationError with all errors in it."""
    if is_bare_service(document):
        document = _wrapped(document)
    config, inputs = document.get("config"), document.get("inputs")
    problems: list[Problem] = []
    if not isinstance(config, dict):
        problems.append(Problem("config", type_name(config), "an object"))
        config = {}
    if not isinstance(inputs, list | None) or len(inputs or []) > _MAX_INPUTS:
        found = type_name(inputs) if not isinstance(inputs, list) else f"{len(inputs)} inputs"
        problems.append(Problem("inputs", found, f"a list of at most {_MAX_INPUTS} inputs"))
        inputs = []
    reader = _InputReader(config, problems)
    made = tuple(reader.input(each, f"inputs[{n}]") for n, each in enumerate(inputs or []))
    for position, each in enumerate(made):
        if each.id in [other.id for other in made[:position]]:
            problems.append(Problem(f"inputs[{position}].id", f'"{each.id}"', "a unique id"))
    if problems:
        raise ConfigurationError(source, problems)
    return Recipe(source, config, made)


def _wrapped(document: Mapping[str, Any]) -> dict[str, Any]:
    """A container with `${NAME}` in its texts as a recipe; names without a default are required."""
    config = {key: value for key, value in document.items() if key != "defaults"}
    given = document.get("defaults")
    defaults = given if isinstance(given, dict) else {}
    names = dict.fromkeys(PLACEHOLDER.findall(json.dumps(config)))
    inputs = [
        {"id": name, "default": _plain(defaults[name])}
        if name in defaults
        else {"id": name, "required": True}
        for name in names
    ]
    return {"config": config, "inputs": inputs}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class _InputReader:
    def __init__(self, config: Mapping[str, Any], problems: list[Problem]) -> None:
        self._config = config
        self._problems = problems
        self._root: type[Struct] = Container if is_service(config) else Config

    def input(self, given: Any, at: str) -> Input:
        """One input; an invalid part is reported and replaced."""
        if not isinstance(given, dict):
            self._problems.append(Problem(at, type_name(given), "an object"))
            given = {"id": at}
        path = self._text(given, "path", at)
        if path == "" and given.get("id") is None:
            self._problems.append(Problem(f"{at}.path", "nothing", "a path such as env.NAME"))
        before, _, placeholder = path.partition("#")
        keys = split(before) if path else None
        fallback = placeholder or (keys[-1] if keys else at)
        identifier = self._text(given, "id", at) or fallback
        kind, named_secret = self._kind(given, at)
        if keys is not None:
            self._check_path(keys, f"{at}.path", path)
        required = given.get("required")
        if not isinstance(required, bool | None):
            self._problems.append(Problem(f"{at}.required", type_name(required), "true or false"))
        default = given.get("default")
        if default is not None:
            try:
                default = converted(default, kind)
            except ValueError as error:
                self._problems.append(Problem(f"{at}.default", show(default), str(error)))
        named = (identifier, *((keys[-1],) if keys else ()))
        secret = named_secret or (
            kind == "text"
            and (any(map(sounds_secret, named)) or is_secret_key(keys or (), self._root))
        )
        description = self._text(given, "description", at)
        return Input(
            identifier, kind, keys, placeholder, description, bool(required), default, secret
        )

    def _text(self, given: Mapping[str, Any], key: str, at: str) -> str:
        value = given.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value.isprintable():
            found = "text of several lines" if isinstance(value, str) else type_name(value)
            self._problems.append(Problem(f"{at}.{key}", found, "a line of text"))
            return ""
        return value.strip()

    def _kind(self, given: Mapping[str, Any], at: str) -> tuple[Kind, bool]:
        named = self._text(given, "type", at).lower() or "text"
        for kind, names in _TYPES.items():
            if named in names:
                return kind, named in ("secret", "password") or given.get("secret") is True
        known = ", ".join(names[0] for names in _TYPES.values())
        self._problems.append(Problem(f"{at}.type", show(named), f"one of {known}"))
        return "text", False

    def _check_path(self, keys: Keys, at: str, path: str) -> None:
        if not all(keys):
            expected = "names with dots between them, such as chain.wallet.private_key"
            self._problems.append(Problem(at, f'"{path}"', expected))
            return
        value: Any = self._config
        for depth, key in enumerate(keys):
            if isinstance(value, list):
                value = value[int(key)] if key.isdigit() and int(key) < len(value) else ...
            elif isinstance(value, dict):
                value = value.get(key)
            else:
                value = ...
            if value is ...:
                expected = f"{'.'.join(keys[:depth])} to be an object of the recipe's config"
                self._problems.append(Problem(at, f'"{path}"', expected))
                return
            if value is None:  # it is created
                return


def split(path: str) -> Keys:
    """The keys of a path; names of variables may contain dots."""
    first, _, rest = path.partition(".")
    return ("env", rest) if first == "env" else tuple(path.split("."))


def converted(value: Any, kind: Kind) -> Any:
    """A value of that kind, from text or from a decoded value.

    Raises ValueError with what was expected.
    """
    if isinstance(value, str) and kind != "text":
        value = _from_text(value.strip(), kind)
    valid = {
        "text": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value),
        "boolean": isinstance(value, bool),
        "list": isinstance(value, list),
        "object": isinstance(value, dict),
        "any": True,
    }
    if kind == "text" and isinstance(value, int | float):  # such as a default of 2
        return json.dumps(value)
    if not valid[kind]:
        raise ValueError(EXPECTED[kind])
    return value


def _from_text(text: str, kind: Kind) -> Any:
    if kind == "boolean":
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            text.lower()
        )
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text if kind == "any" else None


def sounds_secret(name: str) -> bool:
    """Whether the name of an input is one of a secret, such as HF_TOKEN or openaiApiKey."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    if not words or words[-1] in _PLAIN_WORDS:
        return False
    return any(word in _SECRET_WORDS or word == "token" for word in words)


def is_secret_key(keys: Keys, root: type[Struct]) -> bool:
    """Whether the configuration's key takes nothing but a secret."""
    hint = hint_of(keys, root)
    simple = [each for each in get_args(hint) or (hint,) if struct_of(each) is None]
    return simple == [Secret]


def takes_file(keys: Keys, root: type[Struct]) -> bool:
    """Whether the key's value may be in a file of its own."""
    hint = hint_of(keys, root)
    return hint is Secret or Secret in get_args(hint)


def hint_of(keys: Keys, root: type[Struct]) -> Any:
    """The type of the configuration's key; None when it has no such key."""
    hint: Any = root
    for key in keys:
        base = unwrap(hint)[0]
        if (table := table_of(base)) is not None:
            hint = field_types(table).get(key)
        else:
            hint = get_args(base)[-1] if get_args(base) else None
    return None if hint is None else unwrap(hint)[0]


def texts_of(value: Any) -> Iterator[str]:
    """All texts in a decoded value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
