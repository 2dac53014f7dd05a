"""`infernet-edge status`: the state of the running node."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, with_node
from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient

HELP = "show the health, jobs, memory, containers and chain of the running node"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge status",
        "infernet-edge status --json",
        "sudo infernet-edge status",
    )
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the status; returns 0 when the node is healthy, 1 when not or when none runs."""
    return with_node(arguments, partial(_run, arguments))


def _run(arguments: argparse.Namespace, node: NodeClient) -> int:
    status = node.get("/status")
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        print("\n".join(_lines(status)))
    return 0 if status["healthy"] else 1


def _lines(status: dict[str, Any]) -> Iterator[str]:
    from infernet_edge.cli.chain_report import attention_lines, chain_lines
    from infernet_edge.cli.container_report import container_lines, mebibytes

    health, attention = "healthy" if status["healthy"] else "unhealthy", status["attention"]
    problems = [each for each in attention if each["level"] == "problem"]
    if problems and status["healthy"]:
        health += f" with {len(problems)} problem{'' if len(problems) == 1 else 's'}"
    yield from wrapped("", f"{health}, version {status['version']}, at {status['url']}")
    for url in status.get("network", []):
        yield f"  network: {url}"
    yield from attention_lines(attention)
    yield f"  pending: {status['pending']} jobs"
    memory = status["memory"]
    yield f"  memory: {mebibytes(memory['held'])} of {mebibytes(memory['limit'])} held"
    yield from container_lines(status["containers"], {each["container"] for each in attention})
    if (backup := status.get("backup")) is not None:
        last = backup["last"]["file"] if backup["last"] else "none yet"
        yield f"  backup: {last}, the next one in {backup['next_in'] / 3600:.1f} h"
    if status["chain"] is not None:
        yield from chain_lines(status["chain"])
