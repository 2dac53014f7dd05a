"""Values for the inputs of a recipe: from flags, the environment, and questions on a terminal."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from infernet_edge.config.errors import Problem
    from infernet_edge.config.recipes.filling import Filled
    from infernet_edge.config.recipes.recipe import Input, Keys, Recipe

USAGE, BAD_CONFIGURATION = 2, 78
VARIABLE = "INFERNET_INPUT_"
_ROUNDS = 10  # of questions for keys that the recipe leaves empty


class Unusable(Exception):
    """The request cannot be carried out; the text says why and what to do."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Completed(NamedTuple):
    """A recipe's configuration with all values; `files` are secrets that were given as files.

    `lines` say for each input what its value is and where it comes from, without secrets.
    """

    config: dict[str, Any]
    is_service: bool
    secrets: tuple[Keys, ...]
    files: dict[Keys, Path]
    notes: tuple[str, ...]
    lines: tuple[str, ...]


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --set and --set-file."""
    parser.add_argument(
        "--set",
        dest="set_values",
        action="append",
        default=[],
        metavar="ID=VALUE",
        help="value of an input of the recipe, or of a key of its configuration such as"
        " chain.rpc_url; not for secrets; may be given several times",
    )
    parser.add_argument(
        "--set-file",
        dest="set_files",
        action="append",
        default=[],
        metavar="ID=PATH",
        help="the same, with the value in a file; a secret stays in that file",
    )


def is_interactive(arguments: argparse.Namespace) -> bool:
    """Whether questions may be asked."""
    return not arguments.yes and sys.stdin.isatty() and sys.stdout.isatty()


def read_recipe(file: Path) -> Recipe:
    """The recipe in a file; raises Unusable with all errors in it."""
    from infernet_edge.config import ConfigurationError
    from infernet_edge.config.recipes.recipe import parse
    from infernet_edge.config.sources import read_file

    try:
        return parse(read_file(file, recipe=True), str(file))
    except ConfigurationError as error:
        raise Unusable(str(error), BAD_CONFIGURATION) from None


def complete(recipe: Recipe, arguments: argparse.Namespace) -> Completed:
    """The recipe's configuration with the values of all inputs; raises Unusable, EOFError."""
    return _Collection(recipe, arguments).complete()


def problems_of(document: Mapping[str, Any]) -> list[Problem]:
    """The errors that a configuration would have; where the node keeps its data is not checked."""
    from infernet_edge.config import ConfigurationError
    from infernet_edge.config.loading import build

    try:
        build(dict(document), "", {})
    except ConfigurationError as error:
        # It depends on the user who runs the node.
        return [problem for problem in error.problems if problem.path != "storage.path"]
    return []


class _Collection:
    def __init__(self, recipe: Recipe, arguments: argparse.Namespace) -> None:
        self._recipe = recipe
        self._interactive = is_interactive(arguments)
        self._extra: list[Input] = []
        self._values: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        self._wrong: list[str] = []
        self._take_flags(arguments)
        self._take_environment(os.environ)

    @property
    def _inputs(self) -> tuple[Input, ...]:
        return (*self._recipe.inputs, *self._extra)

    def complete(self) -> Completed:
        self._stop_if_wrong()
        if self._interactive:
            self._ask_for_the_rest()
        for each in self._inputs:
            if each.id not in self._values and each.default is not None:
                self._values[each.id], self._origins[each.id] = each.default, "default"
            elif each.id not in self._values and each.required:
                self._wrong.append(f"{each.id}: found nothing, expected {self._ways(each)}")
        self._stop_if_wrong()
        self._wrong = [self._explained(problem) for problem in self._problems()]
        self._stop_if_wrong()
        filled = self._filled()
        whole = {each.keys: each.id for each in self._inputs if each.keys and not each.placeholder}
        files = {
            keys: self._files[whole[keys]]
            for keys in filled.secrets
            if whole.get(keys) in self._files
        }
        lines = tuple(line for each in self._inputs for line in self._line(each))
        notes = (*filled.notes, *self._left_out(filled.config))
        is_service = self._recipe.is_service
        return Completed(filled.config, is_service, filled.secrets, files, notes, lines)

    def _left_out(self, config: dict[str, Any]) -> Iterator[str]:
        """Notes on keys that a configuration does not have; they are removed."""
        from infernet_edge.config.keys.types import field_types

        for key in [key for key in config if key not in field_types(self._recipe.root)]:
            del config[key]
            yield f"the recipe's key {key} is not known, and left out"

    def _filled(self) -> Filled:
        from infernet_edge.config.recipes.filling import fill

        return fill(self._recipe, self._values, self._extra)

    def _stop_if_wrong(self) -> None:
        if self._wrong:
            count = "1 error" if len(self._wrong) == 1 else f"{len(self._wrong)} errors"
            lines = [f"{self._recipe.source}: {count}", *(f"  {each}" for each in self._wrong)]
            raise Unusable("\n".join(lines), USAGE)

    def _take_flags(self, arguments: argparse.Namespace) -> None:
        from infernet_edge.config.secret_files import read_secret

        for flag in arguments.set_values:
            if (found := self._named(flag, "--set")) is None:
                continue
            each, text = found
            if each.secret:
                self._wrong.append(
                    f"{each.id}: found a secret on the command line, where other users can see it,"
                    f" expected {self._ways(each)}"
                )
            else:
                self._take(each, text, "from --set")
        for flag in arguments.set_files:
            if (found := self._named(flag, "--set-file")) is None:
                continue
            each, path = found
            try:
                text = read_secret(Path(path))[0]
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self._wrong.append(
                    f"{each.id}: found file {path} ({reason}), expected {self._ways(each)}"
                )
            else:
                self._files[each.id] = Path(path)
                self._take(each, text, f"from {path}")

    def _named(self, flag: str, option: str) -> tuple[Input, str] | None:
        """The input that a flag is for, and the text for it."""
        name, equals, text = flag.partition("=")
        if not equals:
            self._wrong.append(f"{option} {name}: found no =, expected {option} ID=VALUE")
            return None
        for each in self._inputs:
            if name in (each.id, ".".join(each.keys or ())):
                return each, text
        if (extra := self._input_for_key(name)) is not None:
            self._extra.append(extra)
            return extra, text
        known = ", ".join(each.id for each in self._recipe.inputs) or "none"
        self._wrong.append(
            f"{option} {name}: found no such input, expected one of the recipe ({known}), or a key"
            " of the configuration"
        )
        return None

    def _input_for_key(self, name: str, expected: str = "") -> Input | None:
        """An input for a key of the configuration that the recipe has none for."""
        from typing import get_args

        from infernet_edge.config.recipes.recipe import (
            Input,
            hint_of,
            is_secret_key,
            sounds_secret,
            split,
        )
        from infernet_edge.config.secret_files import Secret

        keys = split(name)
        hint = hint_of(keys, self._recipe.root)
        if hint is None or hint == self._recipe.root:
            return None
        is_text = hint in (str, Secret) or Secret in get_args(hint)
        secret = is_secret_key(keys, self._recipe.root) or (
            keys[0] == "env" and sounds_secret(keys[-1])
        )
        required = bool(expected)
        return Input(
            *(name, "text" if is_text else "any", keys, "", expected, required, None, secret)
        )

    def _take_environment(self, environment: Mapping[str, str]) -> None:
        for each in self._recipe.inputs:
            for name in _variables(each):
                if each.id not in self._values and environment.get(name):
                    self._take(each, environment[name], f"from ${name}")

    def _take(self, each: Input, text: str, origin: str) -> None:
        from infernet_edge.config.recipes.recipe import converted

        if text == "":  # as in the reference: no value
            return
        try:
            self._values[each.id] = converted(text, each.kind)
        except ValueError:
            found = "another text" if each.secret else f'"{text}"'
            self._wrong.append(f"{each.id}: found {found} {origin}, expected {each.expected}")
        self._origins[each.id] = origin

    def _ask_for_the_rest(self) -> None:
        """Ask for values that are missing: those of the recipe, then what its form requires."""
        if any(each.id not in self._values for each in self._inputs):
            print("Press Enter to accept the answer in [brackets], or to skip.\n")
        for each in self._inputs:
            if each.id not in self._values:
                self._ask(each)
        for _ in range(_ROUNDS):
            missing = self._missing_key()
            if missing is None:
                return
            self._extra.append(missing)
            self._ask(missing)

    def _missing_key(self) -> Input | None:
        for problem in self._problems():
            path = problem.path.removeprefix(self._prefix)
            known = [".".join(each.keys or ()) for each in self._inputs]
            if problem.found == "nothing" and path not in known and "[" not in path:
                return self._input_for_key(path, problem.expected)
        return None

    def _ask(self, each: Input) -> None:
        """Ask until there is a valid answer, or none where none is needed."""
        from infernet_edge.config.recipes.filling import as_text
        from infernet_edge.config.recipes.recipe import converted

        for line in wrapped("", each.description):
            print(line)
        hint = "required" if each.required else "none"
        if each.default is not None:
            hint = as_text(each.default)
        while True:
            if each.secret:
                answer = getpass.getpass(f"{each.id} (not shown) [{hint}]: ").strip()
            else:
                answer = input(f"{each.id} [{hint}]: ").strip()
            if not answer and (each.default is not None or not each.required):
                return
            if not answer:
                print(f"  Please enter {each.expected}.")
                continue
            try:
                self._values[each.id] = converted(answer, each.kind)
            except ValueError as error:
                print(f"  Please enter {error}.")
                continue
            wrong = [problem for problem in self._problems() if self._is_about(problem, each)]
            if not wrong:
                self._origins[each.id] = "from your answer"
                return
            del self._values[each.id]
            print(f"  Found {wrong[0].found}, expected {wrong[0].expected}.")

    @property
    def _prefix(self) -> str:
        return "containers[0]." if self._recipe.is_service else ""

    def _problems(self) -> list[Problem]:
        config = self._filled().config
        return problems_of({"containers": [config]} if self._recipe.is_service else config)

    def _is_about(self, problem: Problem, each: Input) -> bool:
        if each.keys is None:
            return False
        path = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", self._prefix + ".".join(each.keys))
        return problem.path == path or problem.path.startswith((f"{path}.", f"{path}["))

    def _explained(self, problem: Problem) -> str:
        about = next((each for each in self._inputs if self._is_about(problem, each)), None)
        path = problem.path.removeprefix(self._prefix)
        text = f"found {problem.found}, expected {problem.expected}"
        if about is not None:
            return f"{about.id}: {text}"
        key = None if "[" in path else self._input_for_key(path)
        return f"{path}: {text}" + (f" (give it {self._flags(key)[0]})" if key is not None else "")

    def _flags(self, each: Input) -> list[str]:
        """The flags that give an input its value; secrets are not for a command line."""
        flags = [] if each.secret else [f"with --set {each.id}=VALUE"]
        return [*flags, f"with --set-file {each.id}=PATH"]

    def _ways(self, each: Input) -> str:
        """What the value of an input is, and how it is given."""
        ways = self._flags(each)
        if each not in self._extra:  # a key that the recipe does not name has no other way
            ways.insert(-1, f"in the environment as {_variables(each)[0]}")
            ways.append("or on a terminal")
        return f"{each.expected}: give it {', '.join(ways)}"

    def _line(self, each: Input) -> Iterator[str]:
        from infernet_edge.config.recipes.filling import as_text

        value = self._values.get(each.id)
        if value is None:
            shown = "not set"
        elif each.secret:
            shown = f"a secret, {self._origins[each.id]}"
        else:
            origin = self._origins[each.id]
            text = as_text(value)
            shown = f"{text if origin == 'default' else _without_key(text)} ({origin})"
        yield from wrapped(f"  {each.id}: ", shown, indent=4)


def _without_key(text: str) -> str:
    """A URL without what may be a key in it, such as the path of a server of a chain."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*://)(?:[^/?#]*@)?([^/?#@]*)/?(.*)", text, re.I | re.S)
    if found is None:
        return text
    return f"{found[1]}{found[2]}" + ("/…" if found[3] else "")


def _variables(each: Input) -> list[str]:
    """The variables that may contain the value; ids such as HF_TOKEN are variables themselves."""
    names = [VARIABLE + re.sub(r"[^A-Z0-9]", "_", each.id.upper())]
    if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", each.id):
        names.append(each.id)
    return names
