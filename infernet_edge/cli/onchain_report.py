"""Subscriptions and deliveries as text, for `jobs --onchain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infernet_edge.cli.chain_report import problem_lines
from infernet_edge.cli.job_report import moment
from infernet_edge.cli.text import wrapped


def onchain_lines(found: dict[str, Any], *, skipped: bool) -> Iterator[str]:
    """What contracts have asked, and what became of it; with `skipped`, what is not served."""
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
    line = f"{known['id']:>6}  {moment(known['changed_at'])}  {known['state']:<9}  "
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


def _delivery_lines(delivery: dict[str, Any]) -> Iterator[str]:
    named = delivery["subscription"] or f"nonce {delivery['nonce']}"
    state = delivery["state"]
    if delivery["answered_by"]:
        state = f"{state} by {delivery['answered_by']}"
    line = f"{delivery['number']:>6}  {moment(delivery['created_at'])}  {state:<9}  "
    yield from wrapped(line, f"subscription {named}, interval {delivery['interval']}", indent=8)
    yield from wrapped("        ", f"of {delivery['owner']}: {' > '.join(delivery['containers'])}")
    if delivery["transaction"]:
        yield f"        tx {delivery['transaction']}"
    if delivery["proof"]:
        yield from wrapped("        ", f"proof: {delivery['proof']}")
    if delivery["reason"]:
        yield from wrapped("        ", f"reason: {delivery['reason']}")
