"""`infernet-edge reload`: make the running node read its configuration again."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from infernet_edge.cli.configuration import use_service_environment
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, has_url, with_node
from infernet_edge.cli.text import visible

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient

_PLACE = ("", "storage", "storage.path")  # what says where the node is; "": the whole file
HELP = "make the running node read its configuration again, without interrupting jobs"


class _ReloadAnswer(TypedDict):
    """What another node answers."""

    applied: list[str]
    needs_restart: list[str]
    problems: list[str]
    notes: list[str]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge reload",
        "sudo infernet-edge reload --json",
        "infernet-edge reload --url http://pi.local:4000 --token-file FILE",
    )
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was applied; returns 0, or 1 when there are problems, or no node runs.

    Another node is asked at its URL, with the token of an operator. 78 when the configuration does
    not say where its node is.
    """
    if has_url(arguments) or arguments.token_file or arguments.cacert:
        return with_node(arguments, partial(_ask, arguments))
    from infernet_edge.config.errors import ConfigurationError
    from infernet_edge.config.loading import load_valid_parts
    from infernet_edge.control.client import NotRunning, call
    from infernet_edge.errors import ApiError

    use_service_environment(arguments)
    # Where the node is found. Other errors, if there are any, are reported by the node itself.
    loaded, problems = load_valid_parts(arguments.config)
    if unknown := [each for each in problems if each.path in _PLACE]:
        print(
            ConfigurationError(str(loaded.source or "the configuration"), unknown), file=sys.stderr
        )
        return 78
    try:
        report = call(loaded.config, "POST", "/api/reload")
    except (NotRunning, ApiError) as error:
        print(error, file=sys.stderr)
        return 1
    return _print(arguments, report)


def _ask(arguments: argparse.Namespace, node: NodeClient) -> int:
    from infernet_edge.cli.remote.client import decode

    return _print(arguments, decode(node.address, node.fetch("POST", "/api/reload"), _ReloadAnswer))


def _print(arguments: argparse.Namespace, report: dict[str, Any]) -> int:
    if arguments.json:
        print(json.dumps(report, indent=2))
    elif report["problems"]:
        print(visible("\n".join(_problem_lines(report))), file=sys.stderr)
    else:
        print(visible("\n".join(_lines(report))))
        for note in report["notes"]:
            print(visible(f"warning: {note}"), file=sys.stderr)
    return 1 if report["problems"] else 0


def _lines(report: dict[str, Any]) -> Iterator[str]:
    if not report["applied"] and not report["needs_restart"]:
        yield "Nothing was changed"
    if report["applied"]:
        yield "Applied:"
        yield from (f"  {key}" for key in report["applied"])
    if report["needs_restart"]:
        yield "These need a restart of the node:"
        yield from (f"  {key}" for key in report["needs_restart"])


def _problem_lines(report: dict[str, Any]) -> Iterator[str]:
    yield "The configuration cannot be used, so nothing was changed:"
    yield from (f"  {problem}" for problem in report["problems"])
