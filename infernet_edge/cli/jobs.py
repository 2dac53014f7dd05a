"""`infernet-edge jobs`: the newest jobs of all clients."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from infernet_edge.cli.configuration import add_config_argument, load_or_explain

HELP = "list the newest jobs of all clients"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config_argument(parser)
    parser.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the jobs, newest first; returns 0, or 1 when no node runs."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.cli.control import ask

    jobs = ask(loaded.config, "jobs", limit=str(max(1, arguments.limit)))
    if jobs is None:
        return 1
    if arguments.json:
        print(json.dumps(jobs, indent=2))
    elif not jobs:
        print("No jobs yet. The README shows how to send one with curl.")
    else:
        for job in jobs:
            print(_line(job))
    return 0


def _line(job: dict[str, Any]) -> str:
    created = datetime.fromtimestamp(job["created_at"] / 1000, tz=UTC)
    took = ""
    if job["finished_at"] is not None:
        took = f"{(job['finished_at'] - job['created_at']) / 1000:.3f} s"
    moment = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    chain = " > ".join(job["containers"])
    return f"{job['id']}  {moment}  {job['status']:<8} {took:>10}  {job['client']}  {chain}"
