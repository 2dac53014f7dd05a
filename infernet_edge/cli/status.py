"""`infernet-edge status`: the state of a running node, on one screen."""

from __future__ import annotations

import argparse
import http.client
import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import add_node_arguments, with_node
from infernet_edge.cli.text import wrapped

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient
    from infernet_edge.cli.remote.overview import NodeOverview

HELP = "show health, jobs, containers, disk, memory and chain of a running node"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge status",
        "sudo infernet-edge status --json",
        "infernet-edge status --url http://raspberrypi.local:4000",
        text="Exit codes: 0 the node is healthy, 1 it is not, or does not answer.",
    )
    add_node_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the status; returns 0 when the node is healthy, 1 when not or when none runs."""
    return with_node(arguments, partial(_run, arguments))


def _run(arguments: argparse.Namespace, node: NodeClient) -> int:
    """The report of the local node has more details than what other machines may see."""
    from infernet_edge.cli.remote.overview import NodeOverview, fetch_overview

    status = node.get("/status") if node.is_local else _status_of(node)
    overview, document = fetch_overview(node)
    if arguments.json:
        print(json.dumps({**status, "overview": document}, indent=2))
    else:
        print("\n".join(_lines(status, overview or NodeOverview())))
    return 0 if status["healthy"] else 1


def _status_of(node: NodeClient) -> dict[str, Any]:
    """What any client may see of a node, also of one of another make. Raises NodeError."""
    from infernet_edge.cli.remote.client import decode
    from infernet_edge.cli.remote.failures import NodeRefused

    answer = decode(node.address, node.fetch("GET", "/health"), dict[str, Any])
    status = {"healthy": answer.get("status") == "healthy", "url": node.address.name}
    try:
        body = node.fetch("GET", "/info")
        status["version"] = str(decode(node.address, body, dict[str, Any]).get("version"))
    except NodeRefused as error:
        if error.status != http.client.FORBIDDEN:
            raise
        status["version"] = None
    return status


def _lines(status: dict[str, Any], overview: NodeOverview) -> Iterator[str]:
    from infernet_edge.cli.chain_report import attention_lines, chain_lines, duration
    from infernet_edge.cli.container_report import container_lines, remote_container_lines
    from infernet_edge.cli.overview_report import (
        chain_line,
        headline,
        job_lines,
        machine_lines,
    )

    attention = overview.attention
    yield from wrapped("", headline(overview, healthy=status["healthy"]))
    yield from wrapped("  ", f"version {status['version']}, at {status['url']}")
    if overview.started_at:
        yield f"  up {duration(max(0, overview.now - overview.started_at) / 1000)}"
    for url in status.get("network", overview.node.urls):
        yield from wrapped("  network: ", url)
    yield from _discovery_lines(status.get("discovery") or {})
    yield from attention_lines(attention)
    yield from job_lines(overview)
    yield from machine_lines(overview.machine, status.get("memory"))
    explained = {each.container for each in attention}
    if "containers" in status:
        yield from container_lines(status["containers"], explained)
    else:
        yield from remote_container_lines(overview.containers, explained)
    if (backup := status.get("backup")) is not None:
        last = backup["last"]["file"] if backup["last"] else "none yet"
        yield f"  backup: {last}, the next one in {backup['next_in'] / 3600:.1f} h"
    if status.get("chain") is not None:
        yield from chain_lines(status["chain"])
    elif overview.chain is not None:
        yield from chain_line(overview.chain)


def _discovery_lines(discovery: dict[str, Any]) -> Iterator[str]:
    """How other machines find it; nothing when discovery is off."""
    if discovery.get("name"):
        yield from wrapped("  ", f"found by others as: {discovery['name']}")
    if discovery.get("problem"):
        yield from wrapped("  ", f"others may not find it: {discovery['problem']}")
