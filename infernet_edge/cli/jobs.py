"""`infernet-edge jobs`: the newest jobs of all clients, or what is delivered on-chain."""

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
    parser.add_argument(
        "--onchain", action="store_true", help="list deliveries on-chain, each with its state"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the jobs, newest first; returns 0, or 1 when no node runs."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.cli.control import ask

    report = "deliveries" if arguments.onchain else "jobs"
    answer = ask(loaded.config, report, limit=str(max(1, arguments.limit)))
    if answer is None:
        return 1
    jobs = answer["items"]
    if jobs is None:
        print("The chain is off: set chain.enabled to serve on-chain requests.")
        return 0
    if arguments.json:
        print(json.dumps(jobs, indent=2))
    elif not jobs:
        print("None yet. The README shows how to send a job with curl.")
    else:
        for job in jobs:
            print(_delivery_line(job) if arguments.onchain else _line(job))
    return 0


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _delivery_line(delivery: dict[str, Any]) -> str:
    named = delivery["subscription"] or f"nonce {delivery['nonce']}"
    line = (
        f"{delivery['number']:>6}  {_moment(delivery['created_at'])}  {delivery['state']:<9}"
        f"  {delivery['owner']}  subscription {named}  interval {delivery['interval']}"
        f"  {' > '.join(delivery['containers'])}"
    )
    if delivery["transaction"]:
        line += f"\n        transaction {delivery['transaction']}"
    if delivery["reason"]:
        line += f"\n        reason: {delivery['reason']}"
    return line


def _line(job: dict[str, Any]) -> str:
    took = ""
    if job["finished_at"] is not None:
        took = f"{(job['finished_at'] - job['created_at']) / 1000:.3f} s"
    chain = " > ".join(job["containers"])
    moment = _moment(job["created_at"])
    return f"{job['id']}  {moment}  {job['status']:<8} {took:>10}  {job['client']}  {chain}"
