"""`infernet-edge jobs`: the newest jobs of all clients, or subscriptions and deliveries."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from infernet_edge.cli.configuration import add_config_argument, load_or_explain

HELP = "list the newest jobs of all clients"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config_argument(parser)
    parser.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
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
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the jobs, newest first; returns 0, or 1 when no node runs."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.cli.control import fetch_report

    if arguments.skipped and not arguments.onchain:
        print("--skipped needs --onchain", file=sys.stderr)
        return 2
    limit = str(max(1, arguments.limit))
    if not arguments.onchain:
        answer = fetch_report(loaded.config, "jobs", limit=limit)
    else:
        skipped = "true" if arguments.skipped else "false"
        answer = fetch_report(loaded.config, "deliveries", limit=limit, skipped=skipped)
    if answer is None:
        return 1
    found = answer["items"]
    if arguments.json:
        if arguments.onchain:
            found = {"enabled": found is not None, **(found or _CHAIN_OFF)}
        print(json.dumps(found, indent=2))
    elif found is None:
        print("The chain is off. How to turn it on: infernet-edge help on-chain")
    elif arguments.onchain:
        _print_onchain(found, skipped=arguments.skipped)
    else:
        print("\n".join(map(_line, found)) or _NOTHING)
    return 0


_NOTHING = "None yet. How to send a job: infernet-edge help api"
_CHAIN_OFF: dict[str, Any] = {"subscriptions": [], "deliveries": []}
_NOTHING_ONCHAIN = (
    "None yet. Contracts create subscriptions at the coordinator, clients send delegated"
    " requests; what this node does not serve is listed by: infernet-edge jobs --onchain --skipped"
)


def _print_onchain(found: dict[str, Any], *, skipped: bool) -> None:
    subscriptions, deliveries = found["subscriptions"], found["deliveries"]
    if not subscriptions and not deliveries:
        print("Nothing was skipped." if skipped else _NOTHING_ONCHAIN)
    if subscriptions:
        print("Subscriptions" if not skipped else "Subscriptions that this node does not serve")
        print("\n".join(map(_subscription_line, subscriptions)))
    if deliveries:
        print("Deliveries" if not skipped else "Deliveries that were skipped")
        print("\n".join(map(_delivery_line, deliveries)))


def _subscription_line(known: dict[str, Any]) -> str:
    line = (
        f"{known['id']:>6}  {_moment(known['changed_at'])}  {known['state']:<9}  {known['owner']}"
        f"  {' > '.join(known['containers']) or 'unknown containers'}"
    )
    if known["period"]:
        line += f"  {known['frequency']} times, every {known['period']} s"
    if known["payment_amount"]:
        line += f"\n        pays {_paid(known)}"
    if known["reason"]:
        line += f"\n        reason: {known['reason']}"
    return line


def _paid(known: dict[str, Any]) -> str:
    token = known["payment_token"]
    unit = f"of token {token}" if token.strip("0x") else "wei"
    proof = f", with a proof for {known['verifier']}" if known["verifier"] else ""
    return f"{known['payment_amount']} {unit} from {known['wallet']}{proof}"


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
    if delivery["proof"]:
        line += f"\n        proof: {delivery['proof']}"
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
