"""`infernet-edge jobs`: the newest jobs of all clients, or subscriptions and deliveries."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.remote.arguments import (
    add_node_arguments,
    has_url,
    print_error,
    whole,
    with_node,
)

if TYPE_CHECKING:
    from infernet_edge.cli.remote.client import NodeClient

HELP = "list the newest jobs of all clients, or show one"

_MAX_LISTED: Final = 10_000
_FILTERS: Final = ("state", "container", "client", "find", "before")
_STATES: Final = ("running", "success", "failed", "cancelled")
_NOTHING: Final = "None yet. How to send a job: infernet-edge submit --help"
_NO_MATCH: Final = "No job matches."
_CHAIN_OFF: dict[str, Any] = {"chain": None, "subscriptions": [], "deliveries": []}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge jobs",
        "infernet-edge jobs 01a21b75-4298-4000-bdd5-09a403a99a68",
        "infernet-edge jobs --state failed --container writer --limit 5",
        "infernet-edge jobs --client 192.168.1.20 --json",
        "infernet-edge jobs --url http://raspberrypi.local:4000",
        "infernet-edge jobs --onchain --skipped",
        text="Of another node (--url) it lists your own jobs, and with a token of the scope"
        " operator those of all clients.",
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="show everything about this job")
    parser.add_argument("--limit", type=_limit, default=20, help="how many (default: 20)")
    parser.add_argument(
        "--state", choices=_STATES, help="list those in this state; cancelled ones are failed, too"
    )
    parser.add_argument("--container", metavar="CONTAINER", help="list those with this container")
    parser.add_argument("--client", metavar="NAME", help="list those of this client")
    parser.add_argument("--find", metavar="TEXT", help="list those whose id begins with this")
    parser.add_argument("--before", metavar="ID", help="list those that are older than this one")
    parser.add_argument(
        "--onchain",
        action="store_true",
        help="list subscriptions of the chain and their deliveries, each with its state",
    )
    parser.add_argument(
        "--skipped",
        action="store_true",
        help="with --onchain: list what this node does not serve, with reasons",
    )
    add_node_arguments(parser)


def _limit(text: str) -> int:
    return whole(text, 1, _MAX_LISTED)


def run(arguments: argparse.Namespace) -> int:
    """Print the jobs, newest first; returns 0, or 1 when no node answers."""
    filters = [name for name in _FILTERS if getattr(arguments, name) is not None]
    if arguments.skipped and not arguments.onchain:
        return _usage("--skipped needs --onchain")
    if arguments.onchain:
        if arguments.id is not None:
            return _usage("An ID is that of a job of a client: leave out --onchain")
        if filters:
            return _usage(f"--onchain lists what the local node knows: leave out --{filters[0]}")
        if has_url(arguments):
            return _usage(
                "--onchain works on the machine of the node: run it there, or ask the URL for"
                " /api/chain/subscriptions and /api/chain/deliveries"
            )
        return with_node(arguments, partial(_run_onchain, arguments))
    if arguments.id is not None:
        if filters:
            return _usage(f"With an ID, leave out --{filters[0]}")
        return with_node(arguments, partial(_run_one, arguments))
    wanted = {name: getattr(arguments, name) for name in filters}
    return with_node(arguments, partial(_run_list, arguments, wanted))


def _usage(text: str) -> int:
    print_error(text)
    return 2


def _run_list(arguments: argparse.Namespace, filters: dict[str, str], node: NodeClient) -> int:
    """Print jobs: those of the report of the local node, or those of its history."""
    from infernet_edge.cli.job_report import job_lines, moment

    searched_to = None
    if node.is_local and not filters:  # external jobs are in it, too
        found = node.get("/jobs", {"limit": str(arguments.limit)})["items"]
    else:
        from infernet_edge.cli.remote.history import list_jobs

        found, searched_to, before = list_jobs(node, filters, arguments.limit)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        lines = [line for job in found for line in job_lines(job)]
        print("\n".join(lines) or (_NO_MATCH if filters else _NOTHING))
    if searched_to is not None:
        print_error(f"Searched back to {moment(searched_to)}. To go on, add: --before {before}")
    return 0


def _run_one(arguments: argparse.Namespace, node: NodeClient) -> int:
    """Print everything about one job."""
    from infernet_edge.cli.job_report import detail_lines

    if node.is_local:
        answer = node.get("/job", {"id": arguments.id})
    else:
        from infernet_edge.cli.remote.history import describe_job

        answer = {"job": describe_job(node, arguments.id), "waits_for": []}
    if answer["job"] is None:
        print_error(
            f"The node has no job {arguments.id}. Finished jobs are kept for the time of"
            " jobs.retention. List them with: infernet-edge jobs"
        )
        return 1
    if arguments.json:
        print(json.dumps({**answer.pop("job"), **answer}, indent=2))
    else:
        print("\n".join(detail_lines(**answer)))
    return 0


def _run_onchain(arguments: argparse.Namespace, node: NodeClient) -> int:
    """Print subscriptions and deliveries."""
    from infernet_edge.cli.onchain_report import onchain_lines

    skipped = "true" if arguments.skipped else "false"
    query = {"limit": str(arguments.limit), "skipped": skipped}
    found = node.get("/deliveries", query)["items"]
    if arguments.json:
        print(json.dumps({"enabled": found is not None, **(found or _CHAIN_OFF)}, indent=2))
    elif found is None:
        print("The chain is off. How to turn it on: infernet-edge help on-chain")
    else:
        print("\n".join(onchain_lines(found, skipped=arguments.skipped)))
    return 0
