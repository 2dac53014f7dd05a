"""`infernet-edge jobs`: the newest jobs of all clients, or subscriptions and deliveries."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.chain_report import duration
from infernet_edge.cli.configuration import add_config_argument, load_or_explain
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.text import visible, wrapped

if TYPE_CHECKING:
    from infernet_edge.config import Config

HELP = "list the newest jobs of all clients, or show one"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge jobs",
        "infernet-edge jobs 01a21b75-4298-4000-bdd5-09a403a99a68",
        "infernet-edge jobs --onchain --skipped",
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="show everything about this job")
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
    if arguments.id is not None:
        return _run_one(arguments, loaded.config)
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
        print("\n".join(_onchain_lines(found, skipped=arguments.skipped)))
    else:
        lines = [line for job in found for line in _job_lines(job)]
        print("\n".join(lines) or _NOTHING)
    return 0


def _run_one(arguments: argparse.Namespace, config: Config) -> int:
    """Print everything about one job."""
    from infernet_edge.cli.control import fetch_report

    if arguments.onchain:
        print("An ID is that of a job of a client: leave out --onchain", file=sys.stderr)
        return 2
    answer = fetch_report(config, "job", id=arguments.id)
    if answer is None:
        return 1
    if answer["job"] is None:
        kept = duration(config.jobs.retention)
        print(
            f"The node has no job {visible(arguments.id)}. Finished jobs are kept for {kept}"
            " (jobs.retention). List them with: infernet-edge jobs",
            file=sys.stderr,
        )
        return 1
    if arguments.json:
        print(json.dumps({**answer.pop("job"), **answer}, indent=2))
    else:
        print("\n".join(_detail_lines(**answer)))
    return 0


_MAX_RESULT = 2000  # characters of a result that are printed
_NOTHING = "None yet. How to send a job: infernet-edge help api"
_CHAIN_OFF: dict[str, Any] = {"chain": None, "subscriptions": [], "deliveries": []}


def _onchain_lines(found: dict[str, Any], *, skipped: bool) -> Iterator[str]:
    from infernet_edge.cli.chain_report import problem_lines

    chain, subscriptions, deliveries = found["chain"], found["subscriptions"], found["deliveries"]
    problems = chain["problems"] if chain is not None else ["The chain is being started"]
    if problems:
        yield "Problems"
        yield from problem_lines(problems)
    if subscriptions:
        yield "Subscriptions that this node does not serve" if skipped else "Subscriptions"
        for each in subscriptions:
            yield from _subscription_lines(each)
    if deliveries:
        yield "Deliveries that were skipped" if skipped else "Deliveries"
        for each in deliveries:
            yield from _delivery_lines(each)
    if not subscriptions and not deliveries:
        yield from wrapped("", _why_none(chain, skipped=skipped, stopped=bool(problems)))


def _why_none(chain: dict[str, Any] | None, *, skipped: bool, stopped: bool) -> str:
    """Why nothing is listed: what prevents it, or what there was to read."""
    nothing = "Nothing is known to be skipped" if skipped else "Nothing is known to serve"
    if chain is None or stopped:
        return f"{nothing}; that may be because of the problems above."
    if chain["registry"] and (chain["next_id"] is None or chain["next_read"] < chain["next_id"]):
        return f"{nothing} yet. The node waits for {chain['waits_for']}."
    if skipped:
        return "Nothing was skipped."
    where = ""
    if chain["registry"]:
        many = chain["next_id"] - 1
        where = f" The coordinator {chain['coordinators'].get('1.x', '')} has"
        where += f" {many} subscriptions" if many else " no subscription"
        where += "; those that were over before the node read them are not listed." if many else "."
    return (
        f"None yet.{where} Contracts create subscriptions, clients send delegated requests; what"
        " this node does not serve is listed by: infernet-edge jobs --onchain --skipped"
    )


def _subscription_lines(known: dict[str, Any]) -> Iterator[str]:
    times = ""
    if known["period"]:
        times = f", {known['frequency']} times, every {known['period']} s"
    containers = " > ".join(known["containers"]) or "unknown containers"
    line = f"{known['id']:>6}  {_moment(known['changed_at'])}  {known['state']:<9}  "
    yield from wrapped(line, f"{containers}{times}", indent=8)
    yield from wrapped("        ", f"of {known['owner']}")
    if known["payment_amount"]:
        yield from wrapped("        ", f"pays {_paid(known)}")
    if known["reason"]:
        yield from wrapped("        ", f"reason: {known['reason']}")


def _paid(known: dict[str, Any]) -> str:
    token = known["payment_token"]
    unit = f"of token {token}" if token.strip("0x") else "wei"
    proof = f", with a proof for {known['verifier']}" if known["verifier"] else ""
    return f"{known['payment_amount']} {unit} from {known['wallet']}{proof}"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _delivery_lines(delivery: dict[str, Any]) -> Iterator[str]:
    named = delivery["subscription"] or f"nonce {delivery['nonce']}"
    state = delivery["state"]
    if delivery["answered_by"]:
        state = f"{state} by {delivery['answered_by']}"
    line = f"{delivery['number']:>6}  {_moment(delivery['created_at'])}  {state:<9}  "
    yield from wrapped(line, f"subscription {named}, interval {delivery['interval']}", indent=8)
    yield from wrapped("        ", f"of {delivery['owner']}: {' > '.join(delivery['containers'])}")
    if delivery["transaction"]:
        yield f"        tx {delivery['transaction']}"
    if delivery["proof"]:
        yield from wrapped("        ", f"proof: {delivery['proof']}")
    if delivery["reason"]:
        yield from wrapped("        ", f"reason: {delivery['reason']}")


def _job_lines(job: dict[str, Any]) -> Iterator[str]:
    """Two lines for a job, and its error if it failed."""
    yield from wrapped(f"{job['id']}  ", f"{_moment(job['created_at'])}  {job['status']}", indent=4)
    took = [_seconds(job)] if job["finished_at"] is not None else []
    about = ", ".join([" > ".join(job["containers"]), *took, f"for {job['client']}"])
    yield from wrapped("    ", about)
    if job["error"]:
        yield from wrapped("    error: ", job["error"], indent=6)


def _seconds(job: dict[str, Any]) -> str:
    return f"{(job['finished_at'] - job['created_at']) / 1000:.3f} s"


def _detail_lines(
    job: dict[str, Any], waits_for: list[str], progress: dict[str, Any] | None = None
) -> Iterator[str]:
    yield visible(f"job {job['id']}")
    yield from _row("status", job["status"] + (", cancelled" if job["cancelled"] else ""))
    if progress is not None and progress["container"] is not None:
        yield from _row("is in", progress["container"])
    if progress is not None and progress["position"] is not None:
        yield from _row("position", f"{progress['position']} in its queue")
    yield from _row("kind", job["kind"])
    yield from _row("client", job["client"])
    yield from _row("containers", " > ".join(job["containers"]) or "not named")
    yield from _row("created", _moment(job["created_at"]))
    if job["started_at"] is not None:
        yield from _row("started", _moment(job["started_at"]))
    if job["finished_at"] is not None:
        yield from _row("finished", f"{_moment(job['finished_at'])}, after {_seconds(job)}")
    if job["kind"] != "external":
        yield from _row("attempts", str(job["attempts"]))
    if job["requires_proof"]:
        yield from _row("proof", "required")
    for each in waits_for:
        yield from _row("waits for", each)
    for name, key in (("input", "input_size"), ("outputs", "outputs_size")):
        if job[key] is not None:
            yield from _row(name, f"{job[key]} bytes")
    if job["error"]:
        yield from _row("error", job["error"])
    elif job["result_size"] is not None:
        yield from _row("result", f"{job['result_size']} bytes")
        if job["result"] is not None and len(job["result"]) <= _MAX_RESULT:
            yield from wrapped("    ", job["result"])
        elif job["result"] is not None:
            yield from wrapped("    ", "it is shown with --json")
        else:
            yield from wrapped("    ", f"read it with GET /api/jobs?id={job['id']}")


def _row(label: str, text: str) -> list[str]:
    return wrapped(f"  {label:<12}", text)
