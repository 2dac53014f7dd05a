"""`infernet-edge add-service`: add the container of a recipe to the configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.configuration import add_config_argument
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.inputs import (
    BAD_CONFIGURATION,
    USAGE,
    Unusable,
    add_input_arguments,
    complete,
    problems_of,
    read_recipe,
)
from infernet_edge.cli.output import add_json_argument, answering

if TYPE_CHECKING:
    from infernet_edge.config.recipes.files import SecretFile
    from infernet_edge.config.recipes.recipe import Keys

HELP = "add the service of a recipe to the configuration"

_FAILED = 1
_FIRST_PORT = 3000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge add-service recipe.json",
        "infernet-edge add-service recipe.json --id llama --set model=small --yes",
        "sudo infernet-edge add-service recipe.json",
    )
    parser.description = (
        "Add the container of a recipe of the registry (infernet-recipes) to the configuration."
        " Values of its inputs come from flags, from the environment (INFERNET_INPUT_ID, or ID"
        " itself where it has the form of HF_TOKEN), and from questions on a terminal. Secrets go"
        " to files of their own. The previous configuration is kept with the suffix .bak."
    )
    parser.add_argument("recipe", type=Path, metavar="FILE", help="a recipe.json of a service")
    add_config_argument(parser)
    parser.add_argument("--id", metavar="ID", help="name in jobs (default: the recipe's)")
    parser.add_argument(
        "--protocol",
        choices=("infernet", "http", "openai"),
        help="what the service speaks (default: the recipe's, else infernet)",
    )
    add_input_arguments(parser)
    parser.add_argument("--yes", "--defaults", action="store_true", help="ask no questions")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Change the configuration; returns the exit code."""
    try:
        with answering(as_json=arguments.json) as answer:
            _add(arguments, answer)
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return problem.code
    except (EOFError, KeyboardInterrupt):
        print("\nNothing was changed.", file=sys.stderr)
        return _FAILED
    return 0


def _add(arguments: argparse.Namespace, answer: dict[str, Any]) -> None:
    from infernet_edge.config.model import Container
    from infernet_edge.config.recipes.edits import EditFailed, add_container
    from infernet_edge.config.recipes.files import change, move_secrets

    file = configuration_file(arguments)
    text, document = read_configuration(file)
    recipe = read_recipe(arguments.recipe)
    if not recipe.is_service:
        raise Unusable(
            f"{arguments.recipe} is the recipe of a node, not of a service. Write a configuration"
            f" with: infernet-edge init --recipe {arguments.recipe}",
            USAGE,
        )
    if arguments.id:
        recipe.config["id"] = arguments.id
    if arguments.protocol:
        recipe.config["protocol"] = arguments.protocol
    _refuse_taken_id(document, recipe.config.get("id"), file)
    completed = complete(recipe, arguments)
    container = prepare_container(completed.config, document)
    known = set(map(str, problems_of(document)))
    changed = {**document, "containers": [*(document.get("containers") or []), container]}
    if new := [str(each) for each in problems_of(changed) if str(each) not in known]:
        raise Unusable("\n".join([f"{file} would have these errors:", *new]), BAD_CONFIGURATION)
    files, remaining = move_secrets(container, completed.secrets, Container, file, completed.files)
    try:
        made = add_container(text, file.suffix, container, str(arguments.recipe.name))
        change(file, made, files)
    except (EditFailed, OSError) as error:
        raise Unusable(not_written(file, error), _FAILED) from error
    print(f"Added {container['id']} to {file}.")
    notes = [f"note: {note}" for note in completed.notes]
    for line in (*completed.lines, *notes, *secret_lines(files, remaining, file)):
        print(line)
    print_after_change(file)
    answer |= changed_answer(file, container["id"])
    answer |= secret_answer(files, remaining, completed.notes)


def changed_answer(file: Path, identifier: str) -> dict[str, Any]:
    """What has changed in a configuration, for --json."""
    from infernet_edge.config.recipes.files import backup_of

    paths = {"configuration": file, "previous": backup_of(file)}
    return {name: str(path.absolute()) for name, path in paths.items()} | {"container": identifier}


def secret_answer(
    files: Iterable[SecretFile], remaining: Iterable[Keys], notes: Iterable[str]
) -> dict[str, Any]:
    """Where the secrets of a recipe are, and its notes, for --json: never the secrets."""
    return {
        "secret_files": [str(each.path.absolute()) for each in files],
        "secrets_in_configuration": [".".join(keys) for keys in remaining],
        "notes": list(notes),
    }


def configuration_file(arguments: argparse.Namespace) -> Path:
    """The configuration to change; raises Unusable when there is none."""
    from infernet_edge.config.sources import find_file

    file = find_file(arguments.config, os.environ)
    if file is None:
        raise Unusable(
            "No configuration file was found. Write one with: infernet-edge init (or name one with"
            " --config)",
            _FAILED,
        )
    return file.resolve() if file.is_symlink() else file


def read_configuration(file: Path) -> tuple[str, dict[str, Any]]:
    """The text of a configuration, and what it contains; raises Unusable."""
    from infernet_edge.config import ConfigurationError
    from infernet_edge.config.sources import read_file

    try:
        document = read_file(file)
        _refuse_other_forms(document, file)
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return opened.read(), document
    except ConfigurationError as error:
        raise Unusable(str(error), BAD_CONFIGURATION) from None
    except OSError as error:
        raise Unusable(not_written(file, error), _FAILED) from error


def _refuse_other_forms(document: dict[str, Any], file: Path) -> None:
    """Refuse what cannot have a container added or removed, or a free port found."""
    from infernet_edge.config.decoding import type_name

    for key, kind, expected in (("containers", list, "a list"), ("server", dict, "an object")):
        value = document.get(key)
        if not isinstance(value, kind | None):
            raise Unusable(
                f"{file} cannot be changed: {key}: found {type_name(value)}, expected {expected}",
                BAD_CONFIGURATION,
            )


def not_written(file: Path, error: Exception) -> str:
    """Why a configuration was not changed."""
    reason = error.strerror if isinstance(error, OSError) else error
    advice = ""
    if isinstance(error, PermissionError):
        advice = " Use sudo, or be the user who owns it and its folder."
    return f"{file} was not changed: {reason}.{advice}"


def prepare_container(config: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """A container for this configuration, with a port that no other container has."""
    server, others = document.get("server") or {}, document.get("containers") or []
    taken = [each.get("port", _FIRST_PORT) for each in others if isinstance(each, dict)]
    used = {str(port) for port in (*taken, server.get("port", 4000))}
    first: dict[str, Any] = {key: config[key] for key in ("id", "image") if key in config}
    if not config.get("url"):
        ports = (port for port in range(_FIRST_PORT, 65536) if str(port) not in used)
        first["port"] = config.get("port") or next(ports)
    return first | {key: value for key, value in config.items() if value is not None}


def _refuse_taken_id(document: dict[str, Any], identifier: Any, file: Path) -> None:
    for each in document.get("containers") or []:
        if isinstance(each, dict) and each.get("id") == identifier:
            raise Unusable(
                f"{file} has a container {identifier}. Choose another name with --id, or remove it"
                f" first with: infernet-edge remove-service {identifier}",
                _FAILED,
            )


def secret_lines(files: list[SecretFile], remaining: list[Keys], file: Path) -> Iterator[str]:
    """Where the secrets are."""
    for each in files:
        yield f"A secret is in {each.path}, which only its owner can read."
    if remaining:
        named = ", ".join(".".join(keys) for keys in remaining)
        yield f"note: a secret is in {file} itself ({named}): only its owner should read it."


def print_after_change(file: Path) -> None:
    """What to do next: the node reads its configuration at the start only."""
    import shlex

    from infernet_edge.config.paths import SYSTEM_FILES
    from infernet_edge.config.recipes.files import backup_of
    from infernet_edge.config.sources import find_file

    option = "" if find_file(None, os.environ) == file else f" --config {shlex.quote(str(file))}"
    print(f"The previous configuration is in {backup_of(file)}.")
    print("Next:")
    print(f"  infernet-edge check{option}")
    if file in SYSTEM_FILES:
        print("  sudo infernet-edge service install && sudo systemctl restart infernet-edge")
    else:
        print(f"  infernet-edge run{option}    # stop the node first if it runs")
