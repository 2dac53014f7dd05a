"""`infernet-edge remove-service`: remove a container from the configuration."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infernet_edge.cli.add_service import (
    changed_answer,
    configuration_file,
    not_written,
    print_after_change,
    read_configuration,
)
from infernet_edge.cli.configuration import add_config_argument
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.inputs import Unusable
from infernet_edge.cli.output import add_json_argument, answering

HELP = "remove a service from the configuration"

_FAILED = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge remove-service llama",
        "infernet-edge remove-service llama --config config.toml",
    )
    parser.description = (
        "Remove a container from the configuration. The rest of the file stays as it is; the"
        " previous one is kept with the suffix .bak. Files with secrets are kept."
    )
    parser.add_argument("id", metavar="CONTAINER", help="the id of the container")
    add_config_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Change the configuration; returns the exit code."""
    try:
        with answering(as_json=arguments.json) as answer:
            _remove(arguments, answer)
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return problem.code
    return 0


def _remove(arguments: argparse.Namespace, answer: dict[str, Any]) -> None:
    from infernet_edge.config.recipes.edits import EditFailed, remove_container
    from infernet_edge.config.recipes.files import change

    file = configuration_file(arguments)
    text, document = read_configuration(file)
    containers = [each for each in document.get("containers") or [] if isinstance(each, dict)]
    removed = [each for each in containers if each.get("id") == arguments.id]
    if not removed:
        known = ", ".join(str(each.get("id")) for each in containers) or "none"
        raise Unusable(f"{file} has no container {arguments.id}. It has: {known}.", _FAILED)
    try:
        change(file, remove_container(text, file.suffix, arguments.id))
    except (EditFailed, OSError) as error:
        raise Unusable(not_written(file, error), _FAILED) from error
    print(f"Removed {arguments.id} from {file}.")
    kept = sorted(set(_secret_files(removed[0])))
    for path in kept:
        print(f"Its secret in {path} is kept: delete that file when you do not need it.")
    print_after_change(file)
    answer |= changed_answer(file, arguments.id) | {"secret_files": list(map(str, kept))}


def _secret_files(container: dict[str, Any]) -> Iterator[Path]:
    env = container.get("env")
    values = [container.get("bearer"), *(env.values() if isinstance(env, dict) else ())]
    for value in values:
        if isinstance(value, dict) and isinstance(value.get("file"), str):
            yield Path(value["file"])
