"""`infernet-edge status`: the state of the running node."""

from __future__ import annotations

import argparse
import json

from infernet_edge.cli.configuration import add_config_argument, load_or_explain

HELP = "show the health, jobs, memory and containers of the running node"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the status; returns 0 when the node is healthy, 1 when not or when none runs."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.cli.control import fetch_report

    status = fetch_report(loaded.config, "status")
    if status is None:
        return 1
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        health = "healthy" if status["healthy"] else "unhealthy"
        print(f"{health}, version {status['version']}, at {status['url']}")
        for problem in status["problems"]:
            print(f"  problem: {problem}")
        print(f"  pending: {status['pending']} jobs")
        memory = status["memory"]
        print(f"  memory: {_mebibytes(memory['held'])} of {_mebibytes(memory['limit'])} held")
        for container in status["containers"]:
            reason = f" ({container['reason']})" if container["reason"] else ""
            print(f"  {container['id']:<24} {container['state']}{reason}")
    return 0 if status["healthy"] else 1


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
