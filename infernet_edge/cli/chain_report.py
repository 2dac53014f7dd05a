"""The state of the chain as text, for `status` and `jobs --onchain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.money import coins
from infernet_edge.cli.text import visible, wrapped

if TYPE_CHECKING:
    from infernet_edge.cli.remote.overview import AttentionItem

_INDENT = "  "
_LABEL = 14  # columns


def problem_lines(problems: list[str]) -> Iterator[str]:
    """A line, or some, for each problem."""
    for problem in problems:
        yield from wrapped(f"{_INDENT}problem: ", problem, indent=4)


def attention_lines(attention: list[AttentionItem]) -> Iterator[str]:
    """What needs a person: what it is, what to do, and a command that helps."""
    for each in attention:
        yield from wrapped(f"{_INDENT}{each.level}: ", each.text, indent=4)
        yield from wrapped("    fix: ", each.fix, indent=6)
        if each.command:
            yield f"    {visible(each.command)}"  # in one piece, to be copied


def chain_lines(chain: dict[str, Any]) -> Iterator[str]:
    """The paragraph of `status`; its problems are among those of the node."""
    number = chain["chain_id"]
    yield "chain" if number is None else f"chain {number}"
    yield from _row("waits for", chain["waits_for"])
    yield from _row("account", chain["address"])
    yield from _row("balance", _balance(chain))
    if chain["registration"]:
        yield from _row("SDK 0.1", chain["registration"])
    wallet = chain["payment_wallet"]
    yield from _row("paid to", wallet or "no wallet: subscriptions that pay are skipped")
    yield from _row("block", _block(chain))
    if chain["registry"]:
        yield from _row("registry", chain["registry"])
    for generation, address in chain["coordinators"].items():
        yield from _row("coordinator", f"{address} (SDK {generation})")
    if chain["registry"]:
        yield from _row("next id", _next_id(chain))
        yield from _row("followed", _followed(chain))
    yield from _row("deliveries", f"{chain['pending']} not finished")
    for server in chain["rpc"]:
        yield from _row("server", _server(server))


def _row(label: str, text: str) -> list[str]:
    return wrapped(f"{_INDENT}{label:<{_LABEL}}", text)


def _balance(chain: dict[str, Any]) -> str:
    if chain["balance"] is None:
        return "not known yet"
    age = chain["balance_age"]
    old = f", {duration(age)} ago" if age >= 60 else ""
    return f"{coins(chain['balance'])} coins{old}"


def _block(chain: dict[str, Any]) -> str:
    if chain["head"] is None:
        return "none is known yet"
    return f"{chain['head']}, {duration(chain['head_age'])} ago"


def _next_id(chain: dict[str, Any]) -> str:
    if chain["next_id"] is None:
        return "not known yet"
    waiting = max(0, chain["next_id"] - chain["next_read"])
    read = f"{waiting} subscriptions are not read yet" if waiting else "all before it were read"
    return f"{chain['next_id']}, {read}"


def _followed(chain: dict[str, Any]) -> str:
    many = _count(chain["followed"], "subscription")
    due = chain["next_due"]
    if due is None:
        return many
    return (
        f"{many}; next due in {duration(due['in'])}: subscription {due['subscription']},"
        f" interval {due['interval']}"
    )


def _server(server: dict[str, Any]) -> str:
    use = "in use" if server["in_use"] else "not in use"
    requests = f"{_count(server['requests'], 'request')}, {server['refused']} refused in an hour"
    reason = f"; {server['reason']}" if server["reason"] else ""
    return f"{server['host']} ({use}): {requests}{reason}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time in the largest unit of which there are two, such as `90 s`, `3 min`, `26 h`."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
